//! Computes the result of a run from its aggregates and record. Pure: plain values in, plain values out.

use std::time::Duration;

use muster_core::ids::RowId;
use muster_core::ledger::Ledger;
use muster_core::placement::Assignment;
use muster_report::result::{self, RunResult};
use muster_stats::latency::{Samples, Summary};

use super::inputs::{Counted, Inputs};
use super::judged::Judged;
use super::load::search;
use super::plots::{distributions, series};
use super::statements::{database, errors, query, statements};
use super::workers::{owners_at_end, per_host};
use crate::run::latencies::Latencies;
use crate::run::record::{Found, Record};
use crate::run::server_side::{self, Client};
use crate::run::subject::Subject;
use crate::run::tally::Tally;
use crate::run::{servers, versus};
use crate::threshold;

pub(crate) fn summarize(
    subject: &Subject<'_>,
    record: Record,
    assignment: &Assignment,
    counted: Counted,
) -> RunResult {
    let Counted { ledger, quarantined, mut tally } = counted;
    let latencies = Latencies::take(&mut tally.workers);
    let host_samples = std::mem::take(&mut tally.host_samples).into_sorted();
    let workers = record.workers();
    let owners = owners_at_end(subject.hosts, &record, assignment, &workers);
    let (tally, record) = (&tally, &record);
    let inputs = Inputs {
        subject,
        record,
        assignment,
        ledger: &ledger,
        tally,
        latencies: &latencies,
        workers,
        owners,
    };
    let mut result = of(&inputs, queries(&ledger, tally, record, quarantined));
    result.thresholds = threshold::judge(&subject.spec.thresholds, &result, |wants| {
        host_samples.figures(subject.hosts, &tally.hosts, wants)
    });
    result.versus = versus::compare(&result, &latencies, tally, record).map(Box::new);
    result
}

fn of(inputs: &Inputs<'_>, queries: result::Queries) -> RunResult {
    let Inputs { subject, record, assignment, ledger, tally, latencies, workers, owners } = inputs;
    let judged = Judged::of(inputs);
    let found = record.found();
    let spanned = tally.series.spanned(tally.ran_for_ns);
    let total_ns = judged.service.as_ref().map_or(0, |summary| summary.sum_ns);
    RunResult {
        schema: result::SCHEMA.to_owned(),
        run_id: subject.spec.run_id.to_string(),
        started_at: record.started_at.clone(),
        ending: judged.ending,
        verdict: judged.verdict,
        notes: judged.notes,
        workload: subject.workload(),
        queries,
        result: tally.answers[0].to_result(),
        total_processing_time_ms: total_ns as f64 / 1e6,
        wall_time_ms: inputs.wall().as_secs_f64() * 1e3,
        throughput_qps: per_second(ledger.completed(), inputs.wall()),
        load: judged.load,
        search: search(&subject.spec.session.load, &record.search),
        early_executions: judged.early,
        passes: latencies.first_and_later().map(|(first, later)| result::Passes {
            first: first.as_ref().map(result::Latency::from),
            later: later.as_ref().map(result::Latency::from),
        }),
        statements: statements(subject, latencies, found),
        response_time_ms: judged.due_times.as_ref().map(|from| from.response.clone()),
        lag_ms: judged.due_times.as_ref().map(|from| from.lag.clone()),
        queueing_ms: judged.due_times.as_ref().map(|from| from.queueing.clone()),
        generator_delay_ms: judged.due_times.map(|from| from.generator_delay),
        utilization: judged.utilization,
        service_time_ms: judged.service.as_ref().map(result::Latency::from),
        connect_ms: setup_times(record, |found| &found.connect_ns),
        prepare_ms: setup_times(record, |found| &found.prepare_ns),
        start_skew_ms: record.start_skew.map(|skew| skew.as_secs_f64() * 1e3),
        agents: judged.agents,
        workers: judged.workers,
        hosts: per_host(subject.hosts, tally, owners, workers),
        errors: errors(tally.errors(), subject),
        placement: placement(subject, assignment),
        distributions: distributions(inputs, &spanned),
        series: series(record, &spanned),
        thresholds: Vec::new(),
        query: query(subject, found),
        database: found
            .filter(|found| !found.is_no_database())
            .map(|found| servers::describe(database(subject, found, record), record, 0)),
        tool: result::Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: subject.spec.command.clone(),
        },
        versus: None,
        events: record.events.clone(),
        coordinator_health: judged.coordinator_health,
        server: server_side::summarize(
            &record.server,
            &Client {
                statements: &subject.spec.session.statements,
                latencies,
                is_resumed: record.resumed > 0,
                has_embedded_server: subject.spec.embedded.is_some(),
            },
        ),
    }
}

fn queries(ledger: &Ledger, tally: &Tally, record: &Record, quarantined: Vec<RowId>) -> result::Queries {
    let unaccounted_rows = ledger.unaccounted_ranges().into_iter();
    result::Queries {
        total: ledger.expected().into(),
        completed: ledger.completed().into(),
        failed: ledger.failed().into(),
        unaccounted: ledger.unaccounted().into(),
        retried: tally.retried,
        duplicates: record.dropped.duplicates,
        stale: record.dropped.stale,
        quarantined_rows: quarantined.into_iter().map(|row| row.get().into()).collect(),
        unaccounted_rows: unaccounted_rows.map(|range| range.map(|row| row.get().into())).collect(),
    }
}

fn per_second(count: u32, wall: Duration) -> f64 {
    if wall.is_zero() { 0.0 } else { f64::from(count) / wall.as_secs_f64() }
}

fn placement(subject: &Subject<'_>, assignment: &Assignment) -> result::Placement {
    let table = assignment.table();
    result::Placement {
        method: subject.spec.placement.to_string(),
        workers: table.workers.len() as u64,
        idle: table.idle,
        skew: table.skew,
    }
}

/// Connect or prepare times of every worker, before the clock started.
fn setup_times(record: &Record, times: impl Fn(&Found) -> &Vec<u64>) -> Option<result::Latency> {
    let mut samples = Samples::default();
    let found = record.sessions.iter().filter_map(|session| session.found.as_ref());
    found.flat_map(&times).for_each(|time| samples.push(*time));
    Summary::of(&[samples.into_sorted()]).as_ref().map(result::Latency::from)
}
