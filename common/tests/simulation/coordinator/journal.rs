//! What outlives a coordinator. Entries are written in groups, as with one fsync for many; what waits for them (acknowledgements, rows,
//! welcomes) is sent only afterwards.

use std::collections::BTreeSet;

use muster_common::dispatch::Dispatch;
use muster_common::ids::{Epoch, RowId};
use muster_common::ledger::{Ledger, Settled};
use muster_common::queue::Queue;

use super::CoordinatorEvent;
use super::rows::passes;
use crate::messages::FromCoordinator;
use crate::mutants::Mutant;
use crate::world::{Event, World};

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Session(Epoch),
    /// In the order in which the rows were given: what a session had and did not settle when the coordinator died may have run.
    Sent {
        epoch: Epoch,
        rows: Vec<RowId>,
    },
    /// The session reported all that it ran.
    HandedBack(Epoch),
    Settled {
        row: RowId,
        settled: Settled,
        execution: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<Entry>,
    then: Vec<(usize, FromCoordinator)>,
    is_scheduled: bool,
}

impl Journal {
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Sends a message when all that was added so far is on disk.
    pub(super) fn then_send(&mut self, connection: usize, message: FromCoordinator) {
        self.then.push((connection, message));
    }

    pub(super) fn schedule(&mut self, world: &mut World, life: u32) {
        let has_work = !self.entries.is_empty() || !self.then.is_empty();
        if has_work && !std::mem::replace(&mut self.is_scheduled, true) {
            let fsync = world.random.micros(200..=world.scenario.fsync_ms * 1_000);
            world.schedule(fsync, Event::Coordinator { life, event: CoordinatorEvent::Synced });
        }
    }

    pub(super) fn sync(&mut self, world: &mut World) {
        self.is_scheduled = false;
        for entry in self.entries.drain(..) {
            write(world, entry);
        }
        for (connection, message) in self.then.drain(..) {
            world.tell_agent(connection, message);
        }
    }

    /// The coordinator dies: the first of the entries under way may have reached the disk, and nothing was said about them.
    pub(super) fn tear(self, world: &mut World) {
        let whole = world.random.index(self.entries.len() + 1);
        for entry in self.entries.into_iter().take(whole) {
            write(world, entry);
        }
    }
}

fn write(world: &mut World, entry: Entry) {
    if let Entry::Settled { row, execution, .. } = entry {
        world.checks.journaled(row, execution);
    }
    if !(world.is(Mutant::SentNotJournaled) && matches!(entry, Entry::Sent { .. })) {
        world.disk.push(entry);
    }
}

/// What a journal tells the coordinator that takes the run up again: where every row is, and the first epoch that nobody had.
pub(super) fn replay(world: &World, workers: usize) -> (Dispatch, Epoch) {
    let mut ledger = Ledger::new(passes(world).rows());
    let mut last_epoch = 0;
    let mut handed_back = BTreeSet::new();
    for entry in &world.disk {
        match entry {
            Entry::Session(epoch) => last_epoch = last_epoch.max(epoch.get()),
            Entry::HandedBack(epoch) => drop(handed_back.insert(*epoch)),
            Entry::Settled { row, settled, .. } => drop(ledger.settle(*row, *settled)),
            Entry::Sent { .. } => {}
        }
    }
    let mut dispatch = Dispatch::new(ledger, passes(world), vec![Queue::default(); workers]);
    for entry in &world.disk {
        if let Entry::Sent { epoch, rows } = entry
            && !handed_back.contains(epoch)
        {
            dispatch.remember_loss(rows.iter().copied(), *epoch);
        }
    }
    let first_epoch = if world.is(Mutant::EpochsRepeat) { 1 } else { last_epoch + 1 };
    (dispatch, Epoch::new(first_epoch))
}
