//! The placement of rows on workers, its change when a slot is retired, and the sending of rows to agents.

use std::ops::Range;

use muster_common::ids::{RowId, SlotId, WorkerId};
use muster_common::passes::Passes;
use muster_common::placement::Candidates;
use muster_common::queue::Queue;

use super::Coordinator;
use super::journal::Entry;
use super::losses::Cleanup;
use super::phases::Phase;
use crate::messages::FromCoordinator;
use crate::mutants::Mutant;
use crate::world::World;

impl Coordinator {
    /// The positions of a slot's workers in the placement.
    pub(super) fn workers_of(&self, world: &World, slot: SlotId) -> Range<usize> {
        let workers = usize::from(world.scenario.workers);
        slot.index() * workers..(slot.index() + 1) * workers
    }

    /// Gives every row to a worker. The rows of slots that are already retired are included and move afterwards.
    pub(super) fn place(&mut self, world: &mut World) {
        world.note(|| "coordinator: all are ready, the run begins".to_owned());
        let slots = (0..world.scenario.slots).map(SlotId::new);
        let all: Vec<WorkerId> = slots.flat_map(|slot| worker_ids(world, slot)).collect();
        let candidates = Candidates::new(&all);
        let owners: Vec<u32> = world.scenario.hosts.iter().map(|host| candidates.owner(host)).collect();
        let mut records = vec![Vec::new(); all.len()];
        for (row, place) in (0u32..).zip(&world.scenario.rows) {
            records[owners[place.host] as usize].push(RowId::new(row));
        }
        for (worker, records) in records.into_iter().enumerate() {
            self.dispatch.give(worker, Queue::new(records, passes(world), None));
        }
        self.phase = Phase::Running;
        self.run(world);
    }

    /// Starts each ready session whose slot has been cleaned up.
    pub(super) fn begin_ready(&mut self, world: &mut World) {
        for member in self.members.values_mut() {
            let slot = member.grant.slot;
            let is_due = member.is_ready && !member.has_begun && self.cleanups[slot.index()] == Cleanup::Done;
            if is_due {
                member.has_begun = true;
                let workers = usize::from(world.scenario.workers);
                let positions = slot.index() * workers..(slot.index() + 1) * workers;
                self.dispatch.begin(positions, member.grant.epoch);
                world.send_to_agent(member.connection, FromCoordinator::Start);
                world.note(|| format!("coordinator: {slot}:{} begins", member.grant.epoch));
            }
        }
    }

    /// Places the hosts of retired slots on the live workers, once no query of these slots runs.
    pub(super) fn move_retired(&mut self, world: &mut World) {
        if self.retired.is_empty() {
            return;
        }
        let begun = self.members.values().filter(|member| member.has_begun);
        let mut slots: Vec<SlotId> = begun.map(|member| member.grant.slot).collect();
        slots.sort_unstable();
        let live: Vec<WorkerId> = slots.iter().flat_map(|slot| worker_ids(world, *slot)).collect();
        if live.is_empty() {
            return;
        }
        let candidates = Candidates::new(&live);
        let (clear, waiting) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition::<Vec<_>, _>(|slot| self.cleanups[slot.index()] == Cleanup::Done);
        self.retired = waiting;
        for retired in clear {
            world.checks.hosts_left(retired);
            let moves_all = world.is(Mutant::NoRendezvous);
            let slots_moved = if moves_all { slots.as_slice() } else { &[] };
            for slot in slots_moved.iter().chain([&retired]) {
                for position in self.workers_of(world, *slot) {
                    let owner = |row: RowId| {
                        let host = world.scenario.rows[row.index()].host;
                        let owner = match moves_all {
                            true => host % live.len(),
                            false => candidates.owner(&world.scenario.hosts[host]) as usize,
                        };
                        let WorkerId { slot, index } = live[owner];
                        slot.index() * usize::from(world.scenario.workers) + usize::from(index)
                    };
                    for (worker, rows) in self.dispatch.retire(position, owner) {
                        self.dispatch.give(worker, rows);
                    }
                }
            }
        }
    }

    /// Sends each worker the number of rows that its credit allows.
    pub(super) fn send_rows(&mut self, world: &mut World) {
        for member in self.members.values_mut().filter(|member| member.has_begun) {
            let slot = member.grant.slot;
            let workers = usize::from(world.scenario.workers);
            for (worker, (granted, sent)) in (0u16..).zip(&mut member.flow) {
                let send_capacity = usize::try_from(*granted - *sent).expect("some dozens");
                let position = slot.index() * workers + usize::from(worker);
                let tasks = self.dispatch.take(position, member.grant.epoch, send_capacity);
                let rows: Vec<RowId> = tasks.into_iter().map(|task| task.row).collect();
                if rows.is_empty() {
                    continue;
                }
                *sent += rows.len() as u64;
                for row in &rows {
                    world.checks.assigned(*row, member.grant, worker);
                }
                self.journal.add(Entry::Sent { epoch: member.grant.epoch, rows: rows.clone() });
                self.journal.then_send(member.connection, FromCoordinator::Assign { worker, rows });
            }
        }
    }
}

/// A single pass over all rows.
pub(super) fn passes(world: &World) -> Passes {
    Passes::once(u32::try_from(world.scenario.rows.len()).expect("some dozens"))
}

fn worker_ids(world: &World, slot: SlotId) -> impl Iterator<Item = WorkerId> + use<> {
    (0..world.scenario.workers).map(move |index| WorkerId::new(slot, index))
}
