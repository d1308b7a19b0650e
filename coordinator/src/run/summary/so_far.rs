//! The result of a run in progress, for a page that shows it. It is built like the result of a finished run, but from histograms: its
//! percentiles are rounded to bins, and it has no tables of hosts and workers.

use std::time::Duration;

use muster_core::ids::SlotId;
use muster_report::result::{self, Bins, Ending, Latency, RunResult};
use muster_stats::log_histogram::{FINE_BITS, LogHistogram};

use super::load::{load, search};
use super::plots::{over_time, series};
use super::statements::{database, errors, query};
use super::workers::agent;
use crate::run::evidence::{self, VerdictInput};
use crate::run::record::Record;
use crate::run::series::Counts;
use crate::run::servers;
use crate::run::subject::Subject;
use crate::run::tally::Snapshot;

/// `snapshot` is `None` while no row has run.
pub(crate) fn so_far(subject: &Subject<'_>, record: &Record, snapshot: Option<&Snapshot>) -> RunResult {
    let spanned = snapshot.map(|snapshot| snapshot.series.spanned(snapshot.ran_for_ns)).unwrap_or_default();
    let mut all = Counts::default();
    spanned.iter().for_each(|interval| all.merge(&interval.counts));
    let [service, response, delay] = [&all.service, &all.response, &all.generator_delay].map(latency);
    let agents = agents(record, snapshot);
    let coordinator_health = evidence::coordinator_health(record);
    let has_due_times = subject.spec.session.load.has_due_times();
    let queries = [all.completed, all.failed].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let verdict = evidence::verdict(
        record,
        &VerdictInput {
            // That the run has not ended is no problem of the run.
            ending: Ending::Completed,
            agents: &agents,
            coordinator: coordinator_health.as_ref(),
            has_embedded_server: subject.spec.embedded.is_some(),
            queries,
            service: service.as_ref(),
            generator_delay: delay.as_ref().filter(|_| has_due_times),
            overhead: None,
        },
    );
    let ran_for_ms = snapshot.map_or(0.0, |snapshot| snapshot.ran_for_ns as f64 / 1e6);
    let found = record.found();
    let distributions = (service.is_some()).then(|| result::Distributions {
        service_time: Bins::of(&all.service, FINE_BITS),
        response_time: Bins::of(&all.response, FINE_BITS),
        lag: Bins::default(),
        queueing: Bins::default(),
        generator_delay: Bins::of(&all.generator_delay, FINE_BITS),
        agents: Vec::new(),
        over_time: over_time(&spanned, has_due_times),
    });
    RunResult {
        schema: result::SCHEMA.to_owned(),
        run_id: subject.spec.run_id.to_string(),
        started_at: record.started_at.clone(),
        ending: Ending::Unfinished,
        verdict,
        notes: Vec::new(),
        workload: subject.workload(),
        queries: result::Queries {
            total: all.completed + all.failed,
            completed: all.completed,
            failed: all.failed,
            unaccounted: 0,
            retried: snapshot.map_or(0, |snapshot| snapshot.retried),
            duplicates: 0,
            stale: 0,
            quarantined_rows: record.quarantined.iter().map(|row| row.get().into()).collect(),
            unaccounted_rows: Vec::new(),
        },
        result: snapshot.map_or_else(Default::default, |snapshot| snapshot.answers).to_result(),
        total_processing_time_ms: busy_ns(snapshot) as f64 / 1e6,
        wall_time_ms: ran_for_ms,
        throughput_qps: if ran_for_ms > 0.0 { all.completed as f64 / (ran_for_ms / 1e3) } else { 0.0 },
        load: load(
            &subject.spec.session.load,
            &record.search,
            [all.completed + all.failed, 0],
            Duration::from_nanos(snapshot.map_or(0, |snapshot| snapshot.ran_for_ns)),
            None,
        ),
        passes: None,
        early_executions: None,
        statements: Vec::new(),
        search: search(&subject.spec.session.load, &record.search),
        service_time_ms: service,
        response_time_ms: response,
        lag_ms: None,
        queueing_ms: None,
        generator_delay_ms: delay,
        utilization: None,
        connect_ms: None,
        prepare_ms: None,
        start_skew_ms: None,
        agents,
        workers: Vec::new(),
        hosts: Vec::new(),
        errors: snapshot.map(|snapshot| errors(snapshot.errors.clone(), subject)).unwrap_or_default(),
        placement: result::Placement {
            method: subject.spec.placement.to_string(),
            workers: record.workers().len() as u64,
            idle: 0,
            skew: 0.0,
        },
        versus: None,
        series: series(record, &spanned),
        distributions,
        events: record.events.clone(),
        thresholds: Vec::new(),
        query: query(subject, found),
        database: found
            .filter(|found| !found.is_no_database())
            .map(|found| servers::describe(database(subject, found, record), record, 0)),
        tool: result::Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: subject.spec.command.clone(),
        },
        coordinator_health,
        server: None,
    }
}

/// The agents so far. While the run waits for agents, those that have joined.
fn agents(record: &Record, snapshot: Option<&Snapshot>) -> Vec<result::Agent> {
    let of_workers = |slot| {
        let workers = snapshot.and_then(|snapshot| snapshot.workers.get(record.workers_of(slot)));
        workers
            .into_iter()
            .flatten()
            .fold((0, 0, 0), |sum, worker| (sum.0 + worker.0, sum.1 + worker.1, sum.2 + worker.2))
    };
    if record.workers_of_slot.is_empty() {
        let joined = record.sessions.iter().filter(|session| session.lost.is_none());
        return joined
            .map(|session| result::Agent {
                name: session.name(),
                version: session.version.clone(),
                workers: session.workers.into(),
                ..agent(session.grant.slot, record)
            })
            .collect();
    }
    let slots = (0u16..).map(SlotId::new).take(record.workers_of_slot.len());
    slots
        .map(|slot| {
            let (completed, failed, busy_ns) = of_workers(slot);
            result::Agent {
                queries: completed + failed,
                completed,
                failed,
                health: evidence::agent_health(record, slot, busy_ns as f64 / 1e6),
                ..agent(slot, record)
            }
        })
        .collect()
}

fn busy_ns(snapshot: Option<&Snapshot>) -> u64 {
    snapshot.map_or(0, |snapshot| snapshot.workers.iter().map(|(_, _, busy_ns)| busy_ns).sum())
}

fn latency(times: &LogHistogram) -> Option<Latency> {
    times.summary().as_ref().map(Latency::from)
}
