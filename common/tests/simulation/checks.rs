//! Checks the invariants from outside: by what the database runs, what is on disk, and what the agents are sent. The checks do not use
//! the ledger, the slots or the leases of the simulated system.

use std::collections::{BTreeMap, BTreeSet};

use muster_common::dispatch::Dispatch;
use muster_common::ids::{Epoch, RowId, SlotId};
use muster_common::limits;
use muster_common::slots::Grant;

use crate::coordinator::Ending;
use crate::database::Client;
use crate::invariants::{Invariant, Violation};
use crate::messages::Process;
use crate::scenario::Scenario;
use crate::tally::{Counter, Tally};

/// One query sent to the database.
#[derive(Debug)]
struct Execution {
    row: RowId,
    client: Client,
    /// Its position in the order in which queries began; `None` before it begins.
    began: Option<usize>,
    is_measured: bool,
    is_lapsed: bool,
    is_ended_by_successor: bool,
    is_acknowledged: bool,
    is_journaled: bool,
    is_dropped: bool,
    is_expired: bool,
}

pub(crate) struct Checks {
    pub(crate) violation: Option<Violation>,
    pub(crate) tally: Tally,
    host_of_row: Vec<usize>,
    executions: Vec<Execution>,
    began: usize,
    running: Vec<usize>,
    /// By row: the number of its results on disk.
    counts: Vec<u32>,
    /// By row: the indices of its executions.
    runs: Vec<Vec<usize>>,
    live: BTreeSet<(SlotId, Epoch)>,
    over: BTreeSet<Epoch>,
    /// By process: its last session, and whether that was lost while a coordinator ran and the process has sent nothing since.
    last: BTreeMap<Process, (Epoch, bool)>,
    /// By session: the rows that it was given.
    given: BTreeMap<Epoch, BTreeSet<RowId>>,
    /// By host: the worker that its rows were last sent to.
    owners: Vec<Option<(SlotId, u16)>>,
    /// By slot: the newest session that ran a query.
    newest: Vec<u64>,
    /// By slot: true when its hosts were moved to other slots.
    is_left: Vec<bool>,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            violation: None,
            tally: Tally::default(),
            host_of_row: scenario.rows.iter().map(|row| row.host).collect(),
            executions: Vec::new(),
            began: 0,
            running: Vec::new(),
            counts: vec![0; scenario.rows.len()],
            runs: vec![Vec::new(); scenario.rows.len()],
            live: BTreeSet::new(),
            over: BTreeSet::new(),
            last: BTreeMap::new(),
            given: BTreeMap::new(),
            owners: vec![None; scenario.hosts.len()],
            newest: vec![0; scenario.slots.into()],
            is_left: vec![false; scenario.slots.into()],
        }
    }

    /// Keeps only the first violation, because later ones may follow from it.
    pub(crate) fn violated(&mut self, invariant: Invariant, text: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation { invariant, text: text() });
    }

    // -- events in the database ----------------------------------------------------------------------------------------

    pub(crate) fn execution(&mut self, row: RowId, client: &Client) -> usize {
        self.tally.add(Counter::Executions, 1);
        self.runs[row.index()].push(self.executions.len());
        self.executions.push(Execution {
            row,
            client: *client,
            began: None,
            is_measured: false,
            is_lapsed: false,
            is_ended_by_successor: false,
            is_acknowledged: false,
            is_journaled: false,
            is_dropped: false,
            is_expired: false,
        });
        self.executions.len() - 1
    }

    pub(crate) fn row_of(&self, execution: usize) -> RowId {
        self.executions[execution].row
    }

    pub(crate) fn begun(&mut self, number: usize) {
        self.began += 1;
        self.executions[number].began = Some(self.began);
        let Execution { row, client, .. } = self.executions[number];
        let Grant { slot, epoch } = client.grant;
        let host = self.host_of_row[row.index()];
        let overlap = |other: &Execution| {
            format!(
                "row {row} of host {host} began as {slot}:{epoch}/{} while row {} ran as {}:{}/{}",
                client.worker,
                other.row,
                other.client.grant.slot,
                other.client.grant.epoch,
                other.client.worker
            )
        };
        let mut violated = None;
        for other in self.running.iter().map(|other| &self.executions[*other]) {
            if other.client.grant.slot == slot && other.client.grant.epoch != epoch {
                violated = Some((Invariant::SlotAlone, overlap(other)));
            } else if self.host_of_row[other.row.index()] == host {
                violated = Some((Invariant::HostAlone, overlap(other)));
            }
        }
        if epoch.get() < self.newest[slot.index()] || self.is_left[slot.index()] {
            let text = format!("row {row} began as {slot}:{epoch} after its successor had begun");
            violated = Some((Invariant::SlotAlone, text));
        }
        if let Some((invariant, text)) = violated {
            self.violated(invariant, || text);
        }
        self.newest[slot.index()] = self.newest[slot.index()].max(epoch.get());
        self.running.push(number);
    }

    pub(crate) fn ended(&mut self, execution: usize) {
        self.running.retain(|running| *running != execution);
    }

    pub(crate) fn ended_by_successor(&mut self, execution: usize) {
        self.tally.add(Counter::QueriesEndedBySuccessors, 1);
        self.executions[execution].is_ended_by_successor = true;
    }

    // -- events in an agent --------------------------------------------------------------------------------------------

    pub(crate) fn measured(&mut self, execution: usize, is_lapsed: bool) {
        self.executions[execution].is_measured = true;
        self.executions[execution].is_lapsed = is_lapsed;
    }

    pub(crate) fn acknowledged(&mut self, execution: u64) {
        self.numbered(execution).is_acknowledged = true;
    }

    /// No coordinator accepted the result within the time that an agent keeps it.
    pub(crate) fn expired(&mut self, execution: u64) {
        self.tally.add(Counter::ResultsExpired, 1);
        self.numbered(execution).is_expired = true;
    }

    // -- events in the coordinator -------------------------------------------------------------------------------------

    pub(crate) fn coordinator_started(&mut self) {
        self.over.extend(std::mem::take(&mut self.live).into_iter().map(|(_, epoch)| epoch));
        self.owners.fill(None);
        self.is_left.fill(false);
    }

    pub(crate) fn session_begun(&mut self, grant: Grant, process: Process) {
        self.last.insert(process, (grant.epoch, false));
        self.tally.add(Counter::Sessions, 1);
        self.live.insert((grant.slot, grant.epoch));
        self.over.remove(&grant.epoch);
    }

    /// The process sent Hello.
    pub(crate) fn returned(&mut self, process: Process) {
        self.last.remove(&process);
    }

    pub(crate) fn session_over(&mut self, grant: Grant) {
        for (epoch, is_lost) in self.last.values_mut() {
            *is_lost |= *epoch == grant.epoch;
        }
        self.live.remove(&(grant.slot, grant.epoch));
        self.over.insert(grant.epoch);
    }

    pub(crate) fn hosts_left(&mut self, slot: SlotId) {
        self.is_left[slot.index()] = true;
    }

    pub(crate) fn assigned(&mut self, row: RowId, grant: Grant, worker: u16) {
        self.given.entry(grant.epoch).or_default().insert(row);
        let slot = grant.slot;
        let host = self.host_of_row[row.index()];
        let before = self.owners[host].replace((slot, worker));
        if let Some((old_slot, old_worker)) = before
            && (old_slot, old_worker) != (slot, worker)
            && self.live.iter().any(|(live, _)| *live == old_slot)
        {
            self.violated(Invariant::HostsStay, || {
                format!("host {host} went from {old_slot}/{old_worker}, which lives, to {slot}/{worker}")
            });
        }
    }

    /// A result was counted that the session `from` sent.
    pub(crate) fn counted(&mut self, number: u64, from: Epoch, attempt: u32) {
        let is_over = self.over.contains(&from);
        let execution = &*self.numbered(number);
        let (row, ran_under, began) = (execution.row, execution.client.grant.epoch, execution.began);
        let (is_lapsed, is_ended) = (execution.is_lapsed, execution.is_ended_by_successor);
        self.tally.add(Counter::InheritedResultsCounted, usize::from(ran_under != from));
        if is_over || is_lapsed {
            self.violated(Invariant::LostIsLost, || {
                format!(
                    "row {row} was counted, sent by session {from}, which was over, and run under {ran_under}"
                )
            });
        }
        if is_ended {
            self.violated(Invariant::NoFailureOfOurs, || {
                format!("row {row} was counted as failed because its session's successor ended it")
            });
        }
        let earlier = |other: &&usize| self.executions[**other].began.is_some_and(|it| Some(it) < began);
        if attempt == 1 && self.runs[row.index()].iter().find(earlier).is_some() {
            self.violated(Invariant::RetriesReported, || {
                format!("row {row} counts as run once under {ran_under}, and had run before")
            });
        }
    }

    /// A result was dropped because its row already has one.
    pub(crate) fn dropped(&mut self, execution: u64) {
        self.tally.add(Counter::Duplicates, 1);
        self.numbered(execution).is_dropped = true;
    }

    pub(crate) fn journaled(&mut self, row: RowId, execution: u64) {
        self.numbered(execution).is_journaled = true;
        let count = &mut self.counts[row.index()];
        *count += 1;
        if *count > 1 {
            self.violated(Invariant::CountedOnce, || format!("row {row} was counted twice"));
        }
    }

    // -- end of the run ------------------------------------------------------------------------------------------------

    /// `reporters` are the agents that held a slot until the end, with the generation of their process.
    pub(crate) fn run_ended(&mut self, ending: Ending, dispatch: &Dispatch, reporters: &[(usize, u32)]) {
        let ledger = dispatch.ledger();
        let unaccounted: BTreeSet<u32> =
            ledger.unaccounted_ranges().iter().flat_map(|[first, last]| first.get()..=last.get()).collect();
        let uncounted: BTreeSet<u32> =
            (0u32..).zip(&self.counts).filter(|(_, count)| **count == 0).map(|(row, _)| row).collect();
        let counted = self.counts.len() - uncounted.len();
        if unaccounted != uncounted || (ledger.completed() + ledger.failed()) as usize != counted {
            self.violated(Invariant::TotalsAddUp, || {
                format!("rows {uncounted:?} were not counted, and {unaccounted:?} are listed")
            });
        }
        let quarantined: BTreeSet<u32> = dispatch.quarantined().iter().map(|row| row.get()).collect();
        if ending == Ending::Completed && quarantined != uncounted {
            self.violated(Invariant::TotalsAddUp, || {
                format!("the run is complete without rows {uncounted:?}; {quarantined:?} are quarantined")
            });
        }
        for row in dispatch.quarantined() {
            let had = |epoch: &Epoch| self.given.get(epoch).is_some_and(|given| given.contains(row));
            let dead = self.last.values().filter(|(epoch, is_lost)| *is_lost && had(epoch)).count();
            if dead < limits::LOSSES_MAX {
                self.violated(Invariant::OnlyDeathsQuarantine, || {
                    format!("row {row} is quarantined, and only {dead} processes that had it did not return")
                });
            }
        }
        let vanished = self.executions.iter().find(|execution| {
            let Execution { is_acknowledged, is_journaled, is_dropped, is_measured, is_expired, .. } =
                **execution;
            let is_kept = reporters.contains(&(execution.client.agent, execution.client.life));
            let is_expected = ending == Ending::Completed && is_measured && is_kept && !is_expired;
            (is_acknowledged || is_expected) && !is_journaled && !is_dropped
        });
        if let Some(Execution { row, client, .. }) = vanished {
            let text = format!(
                "a measurement of row {row} by agent {} is neither counted nor dropped",
                client.agent
            );
            self.violated(Invariant::NothingVanishes, || text);
        }
    }

    fn numbered(&mut self, execution: u64) -> &mut Execution {
        let number = usize::try_from(execution).expect("some hundreds");
        &mut self.executions[number]
    }
}
