//! The state that outlives a coordinator. Entries are written in groups, as with one fsync for many; messages that depend on them
//! (acknowledgements, rows, welcomes) are sent afterwards.

use std::collections::{BTreeMap, BTreeSet};

use muster_common::dispatch::Dispatch;
use muster_common::ids::{Epoch, RowId};
use muster_common::ledger::{Ledger, Settled};
use muster_common::queue::Queue;

use super::CoordinatorEvent;
use super::rows::passes;
use crate::messages::{FromCoordinator, Process};
use crate::mutants::Mutant;
use crate::world::{Event, World};

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Session(Epoch, Process),
    /// In the order in which the rows were given. Rows that a session had and did not settle when the coordinator died may have run.
    Sent {
        epoch: Epoch,
        rows: Vec<RowId>,
    },
    /// The session reported every row that it ran.
    HandedBack(Epoch),
    Lost(Epoch),
    /// The process sent Hello, so it did not die with its earlier sessions.
    Returned(Process),
    Quarantined(Vec<RowId>),
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

    /// Sends a message once all entries that were added so far are on disk.
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
            world.send_to_agent(connection, message);
        }
    }

    /// The coordinator dies: a prefix of the unsynced entries may have reached the disk, and no message that depends on them was sent.
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

/// Reads the journal for a coordinator that resumes the run. Returns the state of every row, the process of each session, and the first
/// unused epoch.
pub(super) fn replay(world: &World, workers: usize) -> (Dispatch, BTreeMap<Epoch, Process>, Epoch) {
    let mut ledger = Ledger::new(passes(world).rows());
    let mut last_epoch = 0;
    let mut handed_back = BTreeSet::new();
    let (mut processes, mut dead, mut quarantined) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut returned = BTreeSet::new();
    for entry in &world.disk {
        match entry {
            Entry::Session(epoch, process) => {
                last_epoch = last_epoch.max(epoch.get());
                processes.insert(*epoch, *process);
            }
            Entry::Lost(epoch) => drop(dead.insert(*epoch)),
            // The process's sessions so far are over, including those whose loss the coordinator notices later.
            Entry::Returned(process) => {
                returned.extend(processes.iter().filter(|(_, of)| *of == process).map(|(epoch, _)| *epoch));
            }
            Entry::Quarantined(rows) => quarantined.extend(rows.iter().copied()),
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
    // All other sessions were lost because their coordinator died.
    if !world.is(Mutant::LossIsDeath) {
        let died = |epoch: &Epoch| dead.contains(epoch) && !returned.contains(epoch);
        dispatch.discount(processes.keys().copied().filter(|epoch| !died(epoch)));
    }
    dispatch.quarantine(quarantined);
    let first_epoch = if world.is(Mutant::EpochsRepeat) { 1 } else { last_epoch + 1 };
    (dispatch, processes, Epoch::new(first_epoch))
}
