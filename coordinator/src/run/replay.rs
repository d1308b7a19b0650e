//! Replays the journal of a run into the record, ledger and tally that its coordinator had written. Results after a torn tail were never
//! acknowledged: an agent may still have them, or the rows run again.

use std::collections::{BTreeSet, HashMap};

use muster_core::dispatch::Dispatch;
use muster_core::ids::{Epoch, RowId};
use muster_core::ledger::{Ledger, Settled, Settlement};
use muster_core::passes::Passes;
use muster_core::sample::Outcome;

use super::host_samples::HostSamples;
use super::record::{Fact, Record};
use super::results::Executed;
use super::scope::Scope;
use super::seen_answers::SeenAnswer;
use super::summary::Counted;
use super::tally::Tally;
use crate::journal::{CountedSample, Entry, JournalError, Reader, Tail};
use crate::workload::HostIndex;

/// The state of a run according to its journal.
pub(crate) struct Replayed {
    pub(crate) record: Record,
    pub(crate) ledger: Ledger,
    pub(crate) tally: Tally,
    pub(crate) passes: Passes,
    /// True if the journal records that the time of the run was over.
    pub(crate) is_time_over: bool,
    /// Sessions in the order of their ends, with the rows that each had at that time. It is not known whether these rows ran.
    pub(crate) losses: Vec<(Epoch, Vec<RowId>)>,
    /// The position after the last valid entry.
    pub(crate) end: u64,
    pub(crate) tail: Tail,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the journal belongs to another run than the manifest: {0}")]
    Foreign(String),
    #[error("cannot read an event in the journal; it may be from a newer version: {0}")]
    Fact(#[from] serde_json::Error),
}

/// Reads the journal of a run completely. `scope` has its rows, `hosts` is its number of hosts, and `host_samples` is an empty store for
/// the samples of hosts that thresholds name.
pub(crate) fn replay(
    reader: Reader,
    scope: Scope,
    hosts: usize,
    host_samples: HostSamples,
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay {
        record: Record::default(),
        ledger: Ledger::new(scope.passes.rows_at_start()),
        tally: Tally::new(&[], hosts, scope).with_host_samples(host_samples),
        passes: scope.passes,
        is_time_over: false,
        hosts,
        sent: HashMap::new(),
        ended: HashMap::new(),
        losses: Vec::new(),
    };
    let mut reader = reader;
    for entry in reader.by_ref() {
        match entry? {
            Entry::Fact(json) => replay.take_fact(serde_json::from_slice(&json)?),
            Entry::Sent { epoch, worker: _, rows } => replay.take_sent(epoch, rows),
            Entry::Results { epoch, samples } => {
                for sample in samples {
                    if replay.counts(&sample)? {
                        replay.tally.add(executed(epoch, sample));
                    }
                }
            }
        }
    }
    let tail = reader.tail().unwrap_or(Tail::Clean);
    Ok(replay.finish(reader.end(), tail))
}

struct Replay {
    record: Record,
    ledger: Ledger,
    tally: Tally,
    passes: Passes,
    /// True if rows that were not sent are no longer expected.
    is_time_over: bool,
    hosts: usize,
    /// Rows in flight, with the session that has them.
    sent: HashMap<RowId, Epoch>,
    /// Sessions that have ended, and whether each has reported everything that it ran.
    ended: HashMap<Epoch, bool>,
    losses: Vec<(Epoch, Vec<RowId>)>,
}

impl Replay {
    fn take_fact(&mut self, fact: Fact) {
        match &fact {
            Fact::Placed { workers } => {
                let count: usize = workers.iter().map(|count| usize::from(*count)).sum();
                self.tally.ensure_workers(count);
            }
            Fact::Lost { epoch, drained, .. } => self.end_session(Epoch::new(*epoch), *drained),
            Fact::Reported { epoch, .. } => self.end_session(Epoch::new(*epoch), true),
            Fact::TimeOver => self.is_time_over = true,
            Fact::OtherAnswer { row, host, epoch, digest } => {
                let (row, host, epoch) = (RowId::new(*row), HostIndex::new(*host), Epoch::new(*epoch));
                // Otherwise a note would name a host that does not exist.
                if host.index() < self.hosts {
                    self.tally.seen_answers.compare(SeenAnswer { row, host, epoch, digest: *digest });
                }
            }
            Fact::Confirming { .. } => self.restart(),
            Fact::Resumed => {
                self.is_time_over = false;
                let running: BTreeSet<Epoch> = self.sent.values().copied().collect();
                running.into_iter().for_each(|epoch| self.end_session(epoch, false));
            }
            _ => {}
        }
        self.record.apply(fact);
    }

    /// Resets the state: nothing that was sent or counted before counts.
    fn restart(&mut self) {
        self.ledger = Ledger::new(self.passes.rows_at_start());
        self.tally = self.tally.cleared();
        self.is_time_over = false;
        self.sent.clear();
        self.losses.clear();
    }

    fn end_session(&mut self, epoch: Epoch, is_drained: bool) {
        self.ended.insert(epoch, is_drained);
        let rows: Vec<RowId> = self.sent.extract_if(|_, by| *by == epoch).map(|(row, _)| row).collect();
        if !is_drained && !rows.is_empty() {
            self.losses.push((epoch, rows));
        }
    }

    fn take_sent(&mut self, epoch: Epoch, rows: Vec<RowId>) {
        let rows: Vec<RowId> = rows.into_iter().filter(|row| row.get() < self.passes.rows()).collect();
        rows.iter().for_each(|row| self.ledger.grow_to(self.passes.rows_through(*row)));
        let open = rows.into_iter().filter(|row| !self.ledger.is_settled(*row));
        match self.ended.get(&epoch) {
            None => self.sent.extend(open.map(|row| (row, epoch))),
            Some(false) => self.losses.push((epoch, open.collect())),
            Some(true) => {}
        }
    }

    /// Returns true if a sample is the first of its row.
    fn counts(&mut self, counted: &CountedSample) -> Result<bool, ReplayError> {
        let foreign =
            |what: &str, number: u64| Err(ReplayError::Foreign(format!("there is no {what} {number}")));
        if counted.host.index() >= self.hosts {
            return foreign("host", counted.host.get().into());
        }
        if counted.worker as usize >= self.tally.workers.len() {
            return foreign("worker", counted.worker.into());
        }
        let settled = match counted.sample.outcome {
            Outcome::Completed(_) => Settled::Completed,
            Outcome::Failed(_) => Settled::Failed,
        };
        self.sent.remove(&counted.sample.row);
        if counted.sample.row.get() >= self.passes.rows() {
            return foreign("row", counted.sample.row.get().into());
        }
        self.ledger.grow_to(self.passes.rows_through(counted.sample.row));
        match self.ledger.settle(counted.sample.row, settled) {
            Settlement::Counted => Ok(true),
            Settlement::Duplicate => Ok(false),
            Settlement::Unknown => foreign("row", counted.sample.row.get().into()),
        }
    }

    fn finish(mut self, end: u64, tail: Tail) -> Replayed {
        let running: BTreeSet<Epoch> = self.sent.values().copied().collect();
        running.into_iter().for_each(|epoch| self.end_session(epoch, false));
        let Self { record, ledger, tally, passes, is_time_over, losses, .. } = self;
        Replayed { record, ledger, tally, passes, is_time_over, losses, end, tail }
    }
}

impl Replayed {
    /// Converts the state for a report, after which the run cannot be resumed.
    pub(crate) fn into_counted(self) -> (Record, Counted) {
        let mut dispatch = Dispatch::new(self.ledger, self.passes, Vec::new());
        for (epoch, rows) in self.losses {
            dispatch.remember_loss(rows, epoch);
        }
        dispatch.discount(self.record.without_death());
        dispatch.quarantine(self.record.quarantined.iter().copied());
        // In passes that the clock ends, only rows that were sent can be missing.
        if self.is_time_over || self.passes.is_endless() {
            dispatch.close();
        }
        let quarantined = dispatch.quarantined().iter().copied().collect();
        let counted = Counted { ledger: dispatch.into_ledger(), quarantined, tally: self.tally };
        (self.record, counted)
    }
}

fn executed(epoch: Epoch, counted: CountedSample) -> Executed {
    let CountedSample { host, worker, attempt, sample } = counted;
    Executed { worker: worker as usize, host, epoch, attempt, measurement: sample }
}
