//! The journal of a run, read in order, and the checks that need this order: which session had which rows, and what was counted when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::ids::{Epoch, RowId};
use muster_core::limits;
use serde::Deserialize;

use super::database::Execution;
use super::invariants::{Invariant, Violation};
use super::site::Site;
use crate::journal::{CountedSample, Entry, Reader};

/// A query that ended this shortly before its session may have ended after the session's lease.
const LAST_MOMENT: Duration = Duration::from_millis(20);

/// The events of the journal that the checks use.
#[derive(Debug, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
enum Fact {
    Joined {
        epoch: u64,
        instance: u64,
    },
    Placed,
    Began {
        epoch: u64,
    },
    Lost {
        epoch: u64,
        reason: String,
    },
    Moved {
        from: u16,
    },
    Resumed,
    #[serde(other)]
    Other,
}

#[derive(Default)]
pub(super) struct History {
    /// All results of each row, with the session that ran it.
    pub(super) counted: BTreeMap<RowId, Vec<(Epoch, CountedSample)>>,
    /// The number of results that were counted after the loss of the session that ran them.
    pub(super) counted_late: u64,
    sessions: BTreeMap<Epoch, Session>,
    /// Slots that were given up.
    moved: BTreeSet<u16>,
    /// The number of times that the run was resumed.
    resumed: u32,
    /// The hosts are placed: a session that joins from now on has no influence on the start of the run.
    is_placed: bool,
    violations: Vec<Violation>,
}

#[derive(Default)]
struct Session {
    /// The agent's process.
    instance: u64,
    /// The number of times that the run had been resumed.
    resumed: u32,
    joined_before_start: bool,
    has_begun: bool,
    is_lost: bool,
    rows: BTreeSet<RowId>,
}

impl History {
    pub(super) fn read(site: &Site) -> Result<Self, String> {
        let mut history = Self::default();
        for entry in Reader::open(&site.journal).map_err(|problem| problem.to_string())? {
            match entry.map_err(|problem| problem.to_string())? {
                Entry::Fact(json) => {
                    history.take_fact(serde_json::from_slice(&json).map_err(|problem| problem.to_string())?);
                }
                Entry::Sent { epoch, worker: _, rows } => {
                    history.sessions.entry(epoch).or_default().rows.extend(rows);
                }
                Entry::Results { epoch, samples } => history.take_results(epoch, samples),
            }
        }
        Ok(history)
    }

    fn take_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Joined { epoch, instance } => {
                let (resumed, joined_before_start) = (self.resumed, !self.is_placed);
                let session = Session { instance, resumed, joined_before_start, ..Session::default() };
                self.sessions.insert(Epoch::new(epoch), session);
            }
            Fact::Placed => self.is_placed = true,
            Fact::Began { epoch } => self.sessions.entry(Epoch::new(epoch)).or_default().has_begun = true,
            Fact::Lost { epoch, reason } => {
                self.sessions.entry(Epoch::new(epoch)).or_default().is_lost = true;
                if ["not given", "malformed", "sent "].iter().any(|words| reason.contains(words)) {
                    let what = format!("session {epoch} was ended: {reason}");
                    self.violations.push(Violation::new(Invariant::NothingUnknown, what));
                }
            }
            Fact::Moved { from } => drop(self.moved.insert(from)),
            Fact::Resumed => {
                self.resumed += 1;
                self.is_placed = false;
                self.sessions.values_mut().for_each(|session| session.is_lost = true);
            }
            Fact::Other => {}
        }
    }

    fn take_results(&mut self, epoch: Epoch, samples: Vec<CountedSample>) {
        if let Some(session) = self.sessions.get(&epoch).filter(|session| session.is_lost) {
            self.counted_late += samples.len() as u64;
            let of_process = |(_, later): &(&Epoch, &Session)| later.instance == session.instance;
            if !self.sessions.range(epoch..).skip(1).any(|later| of_process(&later)) {
                let what = format!(
                    "session {epoch} was lost and counts row {} without having returned",
                    samples[0].sample.row
                );
                self.violations.push(Violation::new(Invariant::LostIsLost, what));
            }
        }
        for sample in samples {
            self.counted.entry(sample.sample.row).or_default().push((epoch, sample));
        }
    }

    /// `quarantined` are the rows that the run gave up.
    pub(super) fn check(
        &self,
        executions: &[Execution],
        quarantined: &[u64],
        violations: &mut Vec<Violation>,
    ) {
        violations.extend(self.violations.iter().cloned());
        violations.extend(self.forgotten(executions));
        violations.extend(self.moved_without_need(executions));
        for row in quarantined {
            let dead = self.processes_that_died_with(*row);
            if dead < limits::LOSSES_MAX {
                let what =
                    format!("row {row} is quarantined, and only {dead} processes that had it did not return");
                violations.push(Violation::new(Invariant::OnlyDeaths, what));
            }
        }
    }

    /// A process runs a row again although it has a result of it. It should have sent the result first.
    fn forgotten(&self, executions: &[Execution]) -> Option<Violation> {
        let is_forgotten = |first: &Execution, again: &Execution| {
            let (Some(earlier), Some(later)) =
                (self.sessions.get(&first.epoch), self.sessions.get(&again.epoch))
            else {
                return false;
            };
            // A coordinator that resumes a run drops results of agents that join after its start.
            let is_expected = earlier.resumed == later.resumed || later.joined_before_start;
            let is_kept =
                first.is_finished && first.left.is_some_and(|left| first.until + LAST_MOMENT < left);
            earlier.has_begun && earlier.instance == later.instance && is_expected && is_kept
        };
        executions.iter().enumerate().find_map(|(position, again)| {
            let mut before = executions[..position].iter().filter(|first| first.row == again.row);
            let first = before.find(|first| first.epoch != again.epoch && is_forgotten(first, again))?;
            let (row, epoch, later) = (again.row, first.epoch, again.epoch);
            let what = format!(
                "row {row} has a result of session {epoch}, and its process runs it again as session {later}"
            );
            Some(Violation::new(Invariant::NothingVanishes, what))
        })
    }

    /// A host moves although its slot was not given up. A run that is resumed moves all hosts to their first slots.
    fn moved_without_need(&self, executions: &[Execution]) -> Option<Violation> {
        let mut slots = BTreeMap::new();
        executions.iter().filter(|_| self.resumed == 0).find_map(|execution| {
            let Execution { host, slot, .. } = execution;
            let before = slots.insert(host, *slot).filter(|before| before != slot)?;
            let what = format!("host {host} moved from {before} to {slot}");
            (!self.moved.contains(&before.get())).then(|| Violation::new(Invariant::HostsStay, what))
        })
    }

    /// The number of processes whose last session had this row and was lost.
    fn processes_that_died_with(&self, row: u64) -> usize {
        let last: BTreeMap<u64, &Session> =
            self.sessions.values().map(|session| (session.instance, session)).collect();
        let had_it = |session: &&&Session| session.rows.iter().any(|sent| u64::from(sent.get()) == row);
        last.values().filter(had_it).filter(|session| session.is_lost).count()
    }
}
