//! The state of a run that its facts add up to.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_core::health::HealthTotals;
use muster_core::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_core::server_identity::Reconnects;
use muster_core::slots::Grant;
use muster_report::result::{Ending, Event, SearchStep};

use super::fact::Fact;
use super::found::Found;
use super::session::{COORDINATOR_LOST, Disconnected, Loss, Move, Session};
use crate::run::results::Dropped;
use crate::run::server_stats::ServerStats;

/// The state that results from all facts so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record {
    /// All sessions, in the order of their epochs.
    pub(crate) sessions: Vec<Session>,
    /// The number of workers of each slot. Empty while the run waits for agents.
    pub(crate) workers_of_slot: Vec<u16>,
    pub(crate) moves: Vec<Move>,
    pub(crate) events: Vec<Event>,
    /// Wall-clock time, for display only.
    pub(crate) started_at: Option<String>,
    pub(crate) resumed: u32,
    /// `None` while the run is in progress, and if its coordinator was killed.
    pub(crate) ending: Option<Ending>,
    pub(crate) start_skew: Option<Duration>,
    pub(crate) dropped: Dropped,
    /// Rows that were given up. Some of them may have received a result later.
    pub(crate) quarantined: BTreeSet<RowId>,
    /// The health totals of each coordinator process. Empty totals for a process that recorded none.
    pub(crate) coordinators: Vec<HealthTotals>,
    pub(crate) search: Searched,
    pub(crate) server: ServerStats,
    pub(crate) workload_changed: bool,
}

/// The progress of a search for the highest rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Searched {
    pub(crate) first_rate: Option<f64>,
    pub(crate) steps: Vec<SearchStep>,
    /// The rate of the counted rows in queries per second, and their duration in milliseconds.
    pub(crate) counted: Option<(f64, f64)>,
}

impl Record {
    /// What the first agent with a real database found. If all agents use the null database, what the first agent found.
    pub(crate) fn found(&self) -> Option<&Found> {
        let mut found = self.sessions.iter().filter_map(|session| session.found.as_ref());
        let first = found.clone().next();
        found.find(|found| !found.is_no_database()).or(first)
    }

    pub(crate) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Joined { slot, epoch, machine, process_id, version, workers, instance } => {
                let grant = Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) };
                let session = Session::new(grant, machine, process_id, version, workers);
                self.sessions.push(Session { instance, ..session });
            }
            Fact::Ready { epoch, found } => self.update(epoch, |session| session.found = Some(*found)),
            Fact::Placed { workers } => self.workers_of_slot = workers,
            Fact::Began { slot: _, epoch, offset_ns } => {
                self.update(epoch, |session| session.offset_ns = Some(offset_ns));
            }
            Fact::Armed { at } => drop(self.started_at.get_or_insert(at)),
            Fact::Lost { epoch, reason, drained, left, at_ns } => {
                let loss = Loss { reason, is_drained: drained, has_left: left, at_ns };
                self.update(epoch, |session| session.lost = Some(loss));
            }
            Fact::Reported { epoch, disconnected: count, disconnected_max_ns: outage_max_ns } => {
                let disconnected = Disconnected { count, outage_max_ns };
                self.update(epoch, |session| session.disconnected = disconnected);
            }
            Fact::Reconnected { epoch, reconnects, is_counted } => {
                self.update(epoch, |session| match is_counted {
                    true => reconnects.add_to(&mut session.reconnects),
                    false => session.add_identity(reconnects.target, reconnects.server),
                });
            }
            Fact::Returned { instance } => {
                for session in self.sessions.iter_mut().filter(|session| session.instance == instance) {
                    session.has_returned |= session.lost.is_some();
                }
            }
            Fact::Quarantined { rows } => self.quarantined.extend(rows.into_iter().map(RowId::new)),
            // These facts are about rows and not about the session.
            Fact::TimeOver | Fact::OtherAnswer { .. } => {}
            Fact::WorkloadChanged => self.workload_changed = true,
            Fact::SearchBegan { first_rate } => self.search.first_rate = Some(first_rate),
            Fact::Searched(step) => self.search.steps.push(*step),
            Fact::Confirming { rate, lasts_ms } => self.confirm(rate, lasts_ms),
            Fact::Moved { from, to } => self.moves.push(Move { from: SlotId::new(from), to }),
            Fact::Health { epoch, sum } => self.update(epoch, |session| session.health = Some(*sum)),
            Fact::CoordinatorHealth { sum } => {
                let ordinal = self.resumed as usize;
                self.coordinators.resize(ordinal + 1, HealthTotals::default());
                self.coordinators[ordinal] = *sum;
            }
            Fact::StatsTaken { is_last, snapshot } => self.server.add_snapshot(is_last, *snapshot),
            Fact::NoStats { why } => self.server.problems.push(why),
            Fact::Explained(explained) => self.server.plans.push(*explained),
            Fact::Happened(event) => self.add_event(event),
            Fact::Resumed => self.restart(),
            Fact::Ended { ending, start_skew_ns, duplicates, stale } => {
                self.ending = Some(ending);
                self.start_skew = start_skew_ns.map(Duration::from_nanos);
                self.dropped = Dropped { duplicates, stale };
            }
        }
    }

    /// Resets what belongs to the counted rows: those of a confirmation replace them.
    fn confirm(&mut self, rate: f64, lasts_ms: f64) {
        self.search.counted = Some((rate, lasts_ms));
        // The start time of the run is that of the counted rows.
        self.started_at = None;
        self.server = ServerStats::default();
        self.quarantined.clear();
        for session in &mut self.sessions {
            for Reconnects { target, server, .. } in std::mem::take(&mut session.reconnects) {
                session.add_identity(target, server);
            }
        }
    }

    /// Adds an event, or updates the count of a repeated event.
    fn add_event(&mut self, event: Event) {
        let is_same = |known: &&mut Event| known.what == event.what && known.at_ms == event.at_ms;
        match self.events.iter_mut().rev().find(is_same).filter(|_| event.times > 1) {
            Some(known) => known.times = event.times,
            None => self.events.push(event),
        }
    }

    /// Resets the state for a resumed run: every slot is filled again, and every host is back where it was placed.
    fn restart(&mut self) {
        self.resumed += 1;
        self.ending = None;
        self.moves.clear();
        self.server = ServerStats::default();
        // A resumed run verifies the file again.
        self.workload_changed = false;
        for session in self.sessions.iter_mut().filter(|session| session.lost.is_none()) {
            let reason = COORDINATOR_LOST.to_owned();
            session.lost = Some(Loss { reason, is_drained: false, has_left: false, at_ns: None });
        }
    }

    /// Every worker of the run, by slot and index.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        let slots = (0u16..).zip(&self.workers_of_slot);
        slots
            .flat_map(|(slot, count)| (0..*count).map(move |index| WorkerId::new(SlotId::new(slot), index)))
            .collect()
    }

    /// The positions of a slot's workers among all workers.
    pub(crate) fn workers_of(&self, slot: SlotId) -> std::ops::Range<usize> {
        let counts = &self.workers_of_slot;
        let first = counts.iter().take(slot.index()).map(|count| usize::from(*count)).sum();
        first..first + counts.get(slot.index()).copied().map_or(0, usize::from)
    }

    /// The first epoch for a resumed run. It is above every epoch that was assigned before, including those that were not written to the
    /// journal or were lost with the end of the journal, even if these are all of them.
    pub(crate) fn next_epoch(&self) -> Epoch {
        const UNWRITTEN_MAX: u64 = 1_000_000;
        let last = self.sessions.iter().map(|session| session.grant.epoch.get()).max();
        Epoch::new(last.unwrap_or(0).saturating_add(UNWRITTEN_MAX))
    }

    /// Lost sessions without the death of an agent process. They are not evidence against their rows.
    pub(crate) fn without_death(&self) -> impl Iterator<Item = Epoch> {
        let without = self.sessions.iter().filter(|session| session.lost.is_some() && !session.died());
        without.map(|session| session.grant.epoch)
    }

    /// The lost sessions of a process that count as deaths so far.
    pub(crate) fn presumed_dead(&self, instance: u64) -> impl Iterator<Item = Epoch> {
        let of_it =
            self.sessions.iter().filter(move |session| session.instance == instance && session.died());
        of_it.map(|session| session.grant.epoch)
    }

    /// Sessions that ran rows and ended before the run, with the reason. Sessions that ended with their coordinator are not included.
    pub(crate) fn lost_while_running(&self) -> impl Iterator<Item = (&Session, &Loss)> {
        let ran = self.sessions.iter().filter(|session| session.offset_ns.is_some());
        ran.filter_map(|session| {
            let loss = session.lost.as_ref().filter(|loss| loss.reason != COORDINATOR_LOST)?;
            Some((session, loss))
        })
    }

    pub(crate) fn session(&self, epoch: Epoch) -> Option<&Session> {
        self.sessions.iter().rev().find(|session| session.grant.epoch == epoch)
    }

    fn update(&mut self, epoch: u64, change: impl FnOnce(&mut Session)) {
        let session = self.sessions.iter_mut().rev().find(|session| session.grant.epoch.get() == epoch);
        if let Some(session) = session {
            change(session);
        }
    }
}
