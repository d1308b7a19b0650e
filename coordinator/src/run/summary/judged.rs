//! The verdict and the notes of the result, with the figures on which they depend.

use muster_report::result::{self, Cause, Ending, Verdict};
use muster_stats::latency::Summary;

use super::inputs::Inputs;
use super::load::load;
use super::statements::has_custom_plans_first;
use super::workers::per_worker;
use crate::run::evidence::{self, VerdictInput};
use crate::run::latencies::DueTimes;
use crate::run::{notes, servers, utilization};

pub(super) struct Judged {
    pub(super) ending: Ending,
    pub(super) verdict: Verdict,
    pub(super) notes: Vec<String>,
    pub(super) service: Option<Summary>,
    pub(super) due_times: Option<DueTimes>,
    pub(super) early: Option<result::EarlyExecutions>,
    pub(super) load: result::Load,
    pub(super) utilization: Option<result::Utilization>,
    pub(super) agents: Vec<result::Agent>,
    pub(super) workers: Vec<result::Worker>,
    pub(super) coordinator_health: Option<result::ProcessHealth>,
}

impl Judged {
    pub(super) fn of(inputs: &Inputs<'_>) -> Self {
        let Inputs { subject, record, assignment, ledger, tally, latencies, .. } = inputs;
        let was_uninterrupted = inputs.was_uninterrupted();
        let (workers, agents) = per_worker(inputs, was_uninterrupted.then_some(&subject.spec.session.load));
        let found = record.found();
        let early = latencies.early_and_later(|statement| has_custom_plans_first(subject, found, statement));
        let early_note = early.as_ref().map(|(early, later)| notes::early_executions(early, later));
        let mut notes = first_notes(inputs, &agents, early_note);
        let service = latencies.service(|part| part.class.is_first());
        let service_time_ms = service.as_ref().map(result::Latency::from);
        // Without due times a row is due when its worker becomes free, so lag is 0 by definition.
        let has_due_times = subject.spec.session.load.has_due_times();
        let due_times = latencies.due_times(0).or_else(|| {
            let (response, zero) = (service_time_ms.clone()?, no_lag(service_time_ms.as_ref()?));
            let [lag, queueing, generator_delay] = [zero.clone(), zero.clone(), zero];
            Some(DueTimes { response, lag, queueing, generator_delay })
        });
        let utilization = utilization::utilization(
            &tally.workers,
            &inputs.workers,
            &subject.spec.session.load,
            was_uninterrupted,
        );
        let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
        let ran_to_its_end = record.ending == Some(Ending::Completed) && record.resumed == 0;
        let due = utilization::due(&subject.spec.session.load, &rows_of_worker).filter(|_| ran_to_its_end);
        let counts = [ledger.completed() + ledger.failed(), ledger.unaccounted()].map(u64::from);
        let load = load(&subject.spec.session.load, &record.search, counts, inputs.wall(), due);
        let cut_off = load.cut_off(inputs.workers.len());
        let fell_behind = due_times
            .as_ref()
            .is_some_and(|from| utilization::fell_behind(&load, &from.lag, inputs.wall(), cut_off));
        // A coordinator that was killed after the last row recorded no ending, although the run was complete.
        let is_complete = ledger.unaccounted() == 0 && !tally.passes().is_endless();
        let ending =
            record.ending.unwrap_or(if is_complete { Ending::Completed } else { Ending::Unfinished });
        let coordinator_health = evidence::coordinator_health(record);
        let input = VerdictInput {
            ending,
            agents: &agents,
            coordinator: coordinator_health.as_ref(),
            has_embedded_server: subject.spec.embedded.is_some(),
            queries: [ledger.completed(), ledger.failed()],
            service: service_time_ms.as_ref(),
            generator_delay: due_times.as_ref().map(|from| &from.generator_delay).filter(|_| has_due_times),
            overhead: utilization.as_ref().filter(|_| !has_due_times || fell_behind),
        };
        let verdict = evidence::verdict(record, &input);
        let was_absent = !was_uninterrupted || verdict.causes.contains(&Cause::AgentStoodStill);
        let queueing = due_times.as_ref().zip(utilization.as_ref()).and_then(|(from, utilization)| {
            let rates = fell_behind.then_some(&load);
            notes::queueing(rates, service_time_ms.as_ref()?, from, utilization, was_absent)
        });
        notes.extend(cut_off.map(notes::cut_off).into_iter().chain(queueing));
        if found.is_none_or(|found| !found.is_no_database()) {
            let (completed, _) = latencies.counted(|part| part.class.is_first());
            notes.extend(notes::no_rows(completed, &tally.answers[0]));
        }
        let early = early
            .map(|(early, later)| result::EarlyExecutions { early: (&early).into(), later: (&later).into() });
        Self {
            ending,
            verdict,
            notes,
            service,
            due_times,
            early,
            load,
            utilization,
            agents,
            workers,
            coordinator_health,
        }
    }
}

/// The notes that need no figures of the whole run.
fn first_notes(inputs: &Inputs<'_>, agents: &[result::Agent], early: Option<String>) -> Vec<String> {
    let Inputs { subject, record, ledger, tally, latencies, .. } = inputs;
    let changed = record.workload_changed.then(|| notes::WORKLOAD_CHANGED.to_owned());
    let mut notes: Vec<String> = changed.into_iter().collect();
    notes.extend(notes::survivors(ledger.completed().into(), ledger.failed().into()));
    notes.extend(notes::outlying_agents(agents, &latencies.by_slot(record)));
    notes.extend(notes::different_answers(tally.seen_answers.differences(), record, subject.hosts));
    notes.extend(early);
    if record.sessions.iter().filter_map(|session| session.found.as_ref()).any(|found| found.is_pooled) {
        notes.push(notes::pooled());
    }
    notes.extend(servers::same_twice(record));
    notes
}

fn no_lag(service: &result::Latency) -> result::Latency {
    let zero = |supported: Option<f64>| supported.map(|_| 0.0);
    let zeros = |supported: Option<[f64; 2]>| supported.map(|_| [0.0; 2]);
    let result::Intervals { median_ci, p90_ci, p95_ci, p99_ci, p99_9_ci } = service.intervals;
    result::Latency {
        count: service.count,
        min: 0.0,
        median: 0.0,
        mean: 0.0,
        max: 0.0,
        stddev: zero(service.stddev),
        p90: zero(service.p90),
        p95: zero(service.p95),
        p99: zero(service.p99),
        p99_9: zero(service.p99_9),
        intervals: result::Intervals {
            median_ci: zeros(median_ci),
            p90_ci: zeros(p90_ci),
            p95_ci: zeros(p95_ci),
            p99_ci: zeros(p99_ci),
            p99_9_ci: zeros(p99_9_ci),
        },
    }
}
