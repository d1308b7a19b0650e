//! Handles results in this order: settle → journal → acknowledge. Results from a session that is over are dropped without a reply: the
//! agent sends them again in its next session, marked as results of the former one.

use muster_common::dispatch::Receipt;
use muster_common::ids::Epoch;
use muster_common::ledger::Settled;
use muster_common::outbox::Results;
use muster_common::sample::{Outcome, Sample};
use muster_common::slots::Grant;

use super::Coordinator;
use super::journal::Entry;
use super::losses::EndCause;
use crate::invariants::Invariant;
use crate::messages::FromCoordinator;
use crate::mutants::Mutant;
use crate::tally::Counter;
use crate::world::World;

impl Coordinator {
    pub(super) fn results(&mut self, world: &mut World, connection: usize, grant: Grant, results: Results) {
        let Results { number, ran_under, measurements } = results;
        let is_live = self.members.contains_key(&grant.epoch);
        let resumes = !is_live && world.is(Mutant::LapsedResume);
        if let Some(former) = ran_under
            && is_live
            && !world.is(Mutant::FormerStaysLive)
        {
            // It may still count as live here: its agent noticed the break first.
            self.end_session(world, former, EndCause::Superseded);
        }
        for (worker, measurement) in measurements {
            let settled = settled(&measurement);
            let row = measurement.row;
            let receipt = match ran_under {
                Some(former) if is_live => self.dispatch.settle_stale(former.epoch, row, settled),
                // Nothing is accepted from a lost session, including results that it inherited from an earlier one.
                Some(_) => Receipt::Stale,
                None if resumes => self.dispatch.settle_stale(grant.epoch, row, settled),
                None => {
                    let position = self.workers_of(world, grant.slot).start + usize::from(worker);
                    self.dispatch.settle(position, grant.epoch, row, settled)
                }
            };
            self.take_receipt(world, grant.epoch, &measurement, receipt);
        }
        if is_live || resumes {
            self.acknowledge(world, connection, number);
        }
    }

    fn take_receipt(&mut self, world: &mut World, from: Epoch, measurement: &Sample, receipt: Receipt) {
        let (row, execution) = (measurement.row, measurement.start_ns);
        match receipt {
            Receipt::Counted { attempt } => {
                world.checks.counted(execution, from, attempt);
                let entry = Entry::Settled { row, settled: settled(measurement), execution };
                match self.members.get_mut(&from).filter(|_| world.is(Mutant::SettledApart)) {
                    Some(member) => member.unjournaled.push(entry),
                    None => self.journal.add(entry),
                }
            }
            Receipt::Duplicate if world.is(Mutant::NoDeduplication) => {
                self.journal.add(Entry::Settled { row, settled: settled(measurement), execution });
            }
            Receipt::Duplicate => world.checks.dropped(execution),
            Receipt::Stale => world.checks.tally.add(Counter::StaleResults, 1),
            Receipt::NotGiven => world.checks.violated(Invariant::NothingUnknown, || {
                format!("row {row} of execution {execution} was never given to the session that sent it")
            }),
        }
    }

    fn acknowledge(&mut self, world: &mut World, connection: usize, number: u64) {
        if world.is(Mutant::AckBeforeJournal) {
            world.send_to_agent(connection, FromCoordinator::Ack(number));
        } else {
            self.journal.then_send(connection, FromCoordinator::Ack(number));
        }
    }
}

fn settled(measurement: &Sample) -> Settled {
    match measurement.outcome {
        Outcome::Completed(_) => Settled::Completed,
        Outcome::Failed(_) => Settled::Failed,
    }
}
