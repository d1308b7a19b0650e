//! Aggregates of the counted rows: latencies by worker, sums by host, query results and errors. Pure; each row is added once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use muster_core::ids::RowId;
use muster_core::limits;
use muster_core::passes::Passes;
use muster_core::sample::{Answer, Outcome, QueryError, Sample, SqlState};
use muster_report::compare::Timed;
use muster_report::result;
use muster_stats::buckets::Buckets;

use super::host_samples::{HostSamples, HostTally};
use super::results::Executed;
use super::scope::{Retried, Scope};
use super::seen_answers::{SeenAnswer, SeenAnswers};
use super::series::TimeSeries;
use super::slowest::{Slow, Slowest};
use super::times::{Class, Times};
use crate::workload::HostIndex;

/// Aggregates of one run. They take 4 bytes per completed row, 8 in an open loop, 8 more for each time of 4.29 s or longer, and 24 per
/// host.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By position in the placement's list of workers.
    pub(crate) workers: Vec<WorkerTally>,
    pub(crate) hosts: Vec<HostTally>,
    /// Service times of all completed rows, for metrics only. The latencies are computed from `workers`.
    pub(crate) service_times: Option<Buckets>,
    /// The rows over time, with the times of the first database.
    pub(crate) series: TimeSeries,
    /// Samples for thresholds on hosts.
    pub(crate) host_samples: HostSamples,
    /// By database.
    pub(crate) answers: [Answers; 2],
    /// By database: the times of each row, if two databases are compared.
    pub(crate) compared: [Vec<Timed>; 2],
    /// Errors by SQLSTATE and message. Their details may differ from row to row.
    errors: HashMap<(SqlState, String), ErrorTally>,
    /// From the start of the run to the end of its last query.
    pub(crate) ran_for_ns: u64,
    /// Counted rows that may have run before.
    pub(crate) retried: u64,
    /// The slowest rows of the first database among those whose times are kept.
    pub(crate) slowest: Slowest,
    /// Compares the results of records that ran more than once.
    pub(crate) seen_answers: SeenAnswers,
    scope: Scope,
    /// By SQLSTATE: failures after [`limits::ERRORS_REPORTED`] different messages.
    other_errors: HashMap<SqlState, ErrorTally>,
}

/// What a page in progress shows of a tally. It has no samples, so that it can be copied several times per second.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) series: TimeSeries,
    /// Completed and failed queries of each worker, and the sum of their service times.
    pub(crate) workers: Vec<(u64, u64, u64)>,
    pub(crate) answers: Answers,
    pub(crate) errors: Vec<(SqlState, String, ErrorTally)>,
    pub(crate) ran_for_ns: u64,
    pub(crate) retried: u64,
}

impl Snapshot {
    pub(crate) fn of(tally: &Tally) -> Self {
        let worker = |worker: &WorkerTally| (worker.completed, worker.failed, worker.occupied.busy_ns);
        Self {
            series: tally.series.clone(),
            workers: tally.workers.iter().map(worker).collect(),
            answers: tally.answers[0],
            errors: tally.errors(),
            ran_for_ns: tally.ran_for_ns,
            retried: tally.retried,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct WorkerTally {
    /// The times of completed rows.
    pub(crate) times: Times,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) occupied: Occupied,
}

/// How a worker spent its time, over all counted executions.
#[derive(Debug, Default)]
pub(crate) struct Occupied {
    /// Sum of service times.
    pub(crate) busy_ns: u64,
    /// Sum of generator delays; 0 if rows have no due times.
    pub(crate) delay_ns: u64,
    /// Time from the start of the run to the end of the worker's last query.
    pub(crate) ended_ns: u64,
}

impl Occupied {
    fn add(&mut self, measurement: &Sample) {
        let Sample { start_ns, lag, service_time_ns, .. } = *measurement;
        self.busy_ns = self.busy_ns.saturating_add(service_time_ns);
        self.delay_ns = self.delay_ns.saturating_add(lag.generator_delay_ns);
        self.ended_ns = self.ended_ns.max(start_ns.saturating_add(service_time_ns));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Answers {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Sum of the rows' digests modulo 2^64, so that their order does not matter.
    pub(crate) digest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorTally {
    pub(crate) count: u64,
    pub(crate) first: FirstError,
}

/// The lowest row id with this error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstError {
    pub(crate) row: RowId,
    pub(crate) host: HostIndex,
    pub(crate) statement: u16,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Answers {
    fn add(&mut self, answer: Answer, row: RowId) {
        self.rows = self.rows.saturating_add(answer.rows);
        self.bytes = self.bytes.saturating_add(answer.bytes);
        self.digest = self.digest.wrapping_add(answer.digest_of(row.get().into()));
    }

    pub(crate) fn to_result(self) -> result::Answers {
        let Self { rows, bytes, digest } = self;
        result::Answers { rows, bytes, digest: format!("{digest:016x}") }
    }
}

impl Tally {
    /// `rows_of_worker` is the number of rows of each worker, for which memory is reserved exactly: growing by doubling could take twice
    /// the memory of the samples.
    pub(crate) fn new(rows_of_worker: &[u64], hosts: usize, scope: Scope) -> Self {
        let worker = |rows: &u64| {
            let times = Times::with_capacity(usize::try_from(*rows).unwrap_or(0), scope.has_due_times);
            WorkerTally { times, ..WorkerTally::default() }
        };
        Self {
            workers: rows_of_worker.iter().map(worker).collect(),
            hosts: vec![HostTally::default(); hosts],
            service_times: scope.has_metrics.then(Buckets::default),
            series: TimeSeries::new(scope.has_due_times),
            host_samples: HostSamples::default(),
            answers: [Answers::default(); 2],
            compared: [Vec::new(), Vec::new()],
            errors: HashMap::new(),
            ran_for_ns: 0,
            retried: 0,
            slowest: Slowest::new(scope.slowest),
            seen_answers: SeenAnswers::new(scope.passes),
            scope,
            other_errors: HashMap::new(),
        }
    }

    pub(crate) fn with_host_samples(self, host_samples: HostSamples) -> Self {
        Self { host_samples, ..self }
    }

    /// Returns an empty tally for the same run.
    pub(crate) fn cleared(&self) -> Self {
        Self::new(&vec![0; self.workers.len()], self.hosts.len(), self.scope)
    }

    /// Adds workers up to this number, for a tally that was created before the number was known.
    pub(crate) fn ensure_workers(&mut self, workers: usize) {
        if self.workers.len() < workers {
            let times = || Times::with_capacity(0, self.scope.has_due_times);
            self.workers.resize_with(workers, || WorkerTally { times: times(), ..WorkerTally::default() });
        }
    }

    /// Adds one counted row. Failures never enter the latencies. Rows that may have run before enter them only if the scope includes them.
    pub(crate) fn add(&mut self, executed: Executed) {
        let Executed { worker, host, epoch, attempt, measurement } = executed;
        let service_time_ns = measurement.service_time_ns;
        let class = Class::of(&measurement, &self.scope.passes);
        let is_completed = matches!(measurement.outcome, Outcome::Completed(_));
        self.workers[worker].times.count(class, is_completed);
        self.workers[worker].occupied.add(&measurement);
        self.series.count(&measurement, is_completed);
        let host_tally = &mut self.hosts[host.index()];
        let is_retried = attempt > 1;
        self.retried += u64::from(is_retried);
        if class.is_first() {
            let record = self.scope.passes.record_of(measurement.row);
            self.slowest.executed(worker, measurement.execution, record);
        }
        self.ran_for_ns = self.ran_for_ns.max(measurement.start_ns.saturating_add(service_time_ns));
        match measurement.outcome {
            Outcome::Completed(answer) => {
                self.workers[worker].completed += 1;
                if let Some(service_times) = &mut self.service_times {
                    service_times.record(service_time_ns);
                }
                host_tally.completed += 1;
                let pair = self.scope.passes.pair_of(measurement.row);
                let target = usize::from(class.target > 0);
                self.answers[target].add(answer, pair);
                let row = measurement.row;
                self.seen_answers.compare(SeenAnswer { row, host, epoch, digest: answer.digest });
                if !is_retried || self.scope.retried == Retried::Included {
                    self.workers[worker].times.add(class, &measurement);
                    if class.is_first() {
                        self.series.add_times(&measurement);
                    }
                    if self.scope.passes.targets() > 1 {
                        self.compared[target].push(Timed {
                            row: pair,
                            worker: u32::try_from(worker).unwrap_or(u32::MAX),
                            start_ns: measurement.start_ns,
                            lag_ns: measurement.lag.total_ns(),
                            service_ns: service_time_ns,
                        });
                    }
                    if class.is_first() && self.slowest.accepts(service_time_ns) {
                        let (row, execution) = (measurement.row, measurement.execution);
                        let record = self.scope.passes.record_of(row);
                        let earlier = self.slowest.before(worker, class.statement, execution.number);
                        let (statement, execution) = (execution.statement, execution.number);
                        self.slowest.add(Slow {
                            row,
                            record,
                            host,
                            worker,
                            statement,
                            execution,
                            earlier,
                            service_time_ns,
                        });
                    }
                    self.host_samples.add(host, service_time_ns);
                    host_tally.timed += 1;
                    host_tally.service_time_sum_ns =
                        host_tally.service_time_sum_ns.saturating_add(service_time_ns);
                    host_tally.service_time_max_ns = host_tally.service_time_max_ns.max(service_time_ns);
                }
            }
            Outcome::Failed(error) => {
                self.workers[worker].failed += 1;
                host_tally.failed += 1;
                let QueryError { sqlstate, message, detail, hint } = error;
                let (row, statement) = (measurement.row, measurement.execution.statement);
                self.add_error(sqlstate, message, FirstError { row, host, statement, detail, hint });
            }
        }
    }

    pub(crate) fn passes(&self) -> &Passes {
        &self.scope.passes
    }

    /// The numbers of completed and failed rows.
    pub(crate) fn counted(&self) -> (u64, u64) {
        self.workers.iter().fold((0, 0), |(completed, failed), worker| {
            (completed + worker.completed, failed + worker.failed)
        })
    }

    /// The errors by SQLSTATE and message, most frequent first, then by row.
    pub(crate) fn errors(&self) -> Vec<(SqlState, String, ErrorTally)> {
        let named =
            self.errors.iter().map(|((sqlstate, message), tally)| (*sqlstate, message.clone(), tally));
        let others = self.other_errors.iter();
        let others = others.map(|(sqlstate, tally)| (*sqlstate, "(further messages)".to_owned(), tally));
        let mut errors: Vec<_> = named.chain(others).collect();
        errors.sort_by_key(|(_, _, tally)| (std::cmp::Reverse(tally.count), tally.first.row));
        errors.into_iter().map(|(sqlstate, message, tally)| (sqlstate, message, tally.clone())).collect()
    }

    fn add_error(&mut self, sqlstate: SqlState, message: String, first: FirstError) {
        let is_full = self.errors.len() >= limits::ERRORS_REPORTED;
        let tally = match self.errors.entry((sqlstate, message)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if !is_full => new.insert(ErrorTally { count: 0, first: first.clone() }),
            Entry::Vacant(_) => {
                // A detail or hint of one message does not apply to the others.
                let first = FirstError { detail: None, hint: None, ..first.clone() };
                self.other_errors.entry(sqlstate).or_insert(ErrorTally { count: 0, first })
            }
        };
        tally.count += 1;
        if first.row < tally.first.row {
            tally.first = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::Epoch;
    use muster_core::sample::Execution;

    use super::*;

    fn executed(host: u32, row: u32, service_time_ns: u64, outcome: Outcome) -> Executed {
        let (row, execution) = (RowId::new(row), Execution::default());
        let measurement = Sample { service_time_ns, execution, outcome, ..Sample::zero(row) };
        Executed { worker: 0, host: HostIndex::new(host), epoch: Epoch::new(1), attempt: 1, measurement }
    }

    fn scope(retried: Retried) -> Scope {
        Scope { passes: Passes::once(250), retried, has_due_times: false, slowest: 0, has_metrics: true }
    }

    fn failure(sqlstate: &str, message: &str) -> Outcome {
        let sqlstate = SqlState::try_new(sqlstate).unwrap();
        Outcome::Failed(QueryError::new(sqlstate, message))
    }

    #[test]
    fn failures_do_not_enter_latencies() {
        let mut tally = Tally::new(&[1], 1, scope(Retried::LeftOut));
        let answer = Answer { rows: 60, bytes: 480, digest: u64::MAX };
        tally.add(executed(0, 0, 1_000, Outcome::Completed(answer)));
        tally.add(executed(0, 1, 9_000_000, failure("57014", "timed out")));
        tally.add(executed(0, 2, 3_000, Outcome::Completed(answer)));
        assert_eq!(tally.workers[0].times.len(), 2);
        assert_eq!(tally.workers[0].failed, 1);
        let HostTally { completed, failed, timed: _, service_time_sum_ns, service_time_max_ns } =
            tally.hosts[0];
        assert_eq!((completed, failed, service_time_sum_ns, service_time_max_ns), (2, 1, 4_000, 3_000));
        let digest = answer.digest_of(0).wrapping_add(answer.digest_of(2));
        assert_eq!(tally.answers[0], Answers { rows: 120, bytes: 960, digest });
    }

    #[test]
    fn errors_are_grouped_with_the_lowest_row_as_example() {
        let mut tally = Tally::new(&[1], 2, scope(Retried::LeftOut));
        tally.add(executed(1, 9, 1, failure("22007", "bad time")));
        tally.add(executed(0, 4, 1, failure("22007", "bad time")));
        tally.add(executed(0, 1, 1, failure("57014", "timed out")));
        let errors = tally.errors();
        assert_eq!(errors[0].1, "bad time");
        assert_eq!((errors[0].2.count, errors[0].2.first.row), (2, RowId::new(4)));
        assert_eq!(errors[0].2.first.host, HostIndex::new(0));
        assert_eq!(errors[1].2.count, 1);
    }

    #[test]
    fn errors_with_different_details_are_grouped_with_the_details_of_the_lowest_row() {
        let error = |row: u32| {
            let detail = Some(format!("Key (n)=({row}) already exists."));
            let sqlstate = SqlState::try_new("23505").unwrap();
            Outcome::Failed(QueryError { detail, ..QueryError::new(sqlstate, "duplicate key") })
        };
        let mut tally = Tally::new(&[1], 1, scope(Retried::LeftOut));
        for row in [9, 4, 7] {
            tally.add(executed(0, row, 1, error(row)));
        }
        let errors = tally.errors();
        assert_eq!((errors.len(), errors[0].2.count), (1, 3));
        assert_eq!(errors[0].2.first.detail.as_deref(), Some("Key (n)=(4) already exists."));
    }

    #[test]
    fn a_flood_of_different_messages_is_counted_by_sqlstate() {
        let mut tally = Tally::new(&[1], 1, scope(Retried::LeftOut));
        for row in 0..250 {
            let outcome = failure("22P02", &format!("invalid input: {row}"));
            tally.add(executed(0, row, 1, outcome));
        }
        let errors = tally.errors();
        assert_eq!(errors.len(), limits::ERRORS_REPORTED + 1);
        assert_eq!(errors.iter().map(|(_, _, tally)| tally.count).sum::<u64>(), 250);
        assert_eq!(errors[0].1, "(further messages)");
    }

    #[test]
    fn retried_rows_are_counted_and_excluded_from_the_latencies_unless_included() {
        for (retried, expected) in [(Retried::LeftOut, 1), (Retried::Included, 2)] {
            let mut tally = Tally::new(&[2], 1, scope(retried));
            tally.add(executed(0, 0, 1_000, Outcome::Completed(Answer::default())));
            let again = executed(0, 1, 10, Outcome::Completed(Answer::default()));
            tally.add(Executed { attempt: 2, ..again });
            assert_eq!((tally.workers[0].completed, tally.retried), (2, 1));
            assert_eq!(tally.workers[0].times.len(), expected);
            assert_eq!(tally.hosts[0].timed as usize, expected);
            assert_eq!(tally.service_times.unwrap().count(), 2, "metrics include retried rows");
        }
    }
}
