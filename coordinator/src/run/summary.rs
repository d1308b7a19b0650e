//! From the books and the record of a run to its result. Pure: plain values in, plain values out.

use std::time::{Duration, SystemTime};

use muster_common::ids::WorkerId;
use muster_common::latency::{Samples, Sorted, Summary};
use muster_common::limits;
use muster_common::measurement::QueryError;
use muster_common::placement::Assignment;
use muster_common::result::{self, Ending, RunResult, VerdictStatus};
use muster_proto::control::{Ready, WorkerReport};

use super::conductor::Record;
use super::keeper::Books;
use super::plan::RunPlan;
use super::roster::Member;
use super::tally::{ErrorTally, HostTally, Tally, WorkerTally};
use crate::workload::{HostIndex, HostTable};

pub(crate) fn summarize(plan: &RunPlan, record: Record, books: Books) -> RunResult {
    let Books { ledger, mut tally, duplicates, last_result } = books;
    let wall = wall_time(&record, last_result.map(|last| last.saturating_duration_since(record.started)));
    let (workers, agents, all_summary) = per_worker(&record, &mut tally.workers);
    let total_ns = all_summary.as_ref().map_or(0, |summary| summary.sum_ns);
    let service_time_ms = all_summary.as_ref().map(result::Latency::from);

    let first_ready = record.members.iter().find_map(|member| member.ready.as_ref());
    let mut events = record.events;
    if duplicates > 0 {
        let at_ms = events.last().map_or(0.0, |event| event.at_ms);
        events
            .push(result::Event { at_ms, what: format!("{duplicates} results came twice and were dropped") });
    }
    RunResult {
        schema: result::SCHEMA.to_owned(),
        run_id: plan.id.to_string(),
        started_at: Some(rfc3339(record.started_at)),
        ending: record.ending,
        verdict: verdict(record.ending, &record.members),
        workload: result::Workload {
            file: plan.workload.file().to_owned(),
            sha256: plan.workload.sha256().to_owned(),
            rows: plan.workload.rows().into(),
            hosts: plan.workload.hosts().len() as u64,
            skipped: plan.workload.skipped(),
        },
        queries: result::Queries {
            total: ledger.rows().into(),
            completed: ledger.completed().into(),
            failed: ledger.failed().into(),
            unaccounted: ledger.unaccounted().into(),
            retried: 0,
            unaccounted_rows: ledger
                .unaccounted_ranges()
                .into_iter()
                .map(|range| range.map(|row| row.get().into()))
                .collect(),
        },
        result: result::Answers {
            rows: tally.answers.rows,
            bytes: tally.answers.bytes,
            digest: format!("{:016x}", tally.answers.digest),
        },
        total_processing_time_ms: milliseconds(total_ns),
        wall_time_ms: wall.as_secs_f64() * 1e3,
        throughput_qps: per_second(ledger.completed(), wall),
        // A closed loop: a row is due when its worker becomes free, so lag is 0 by definition.
        response_time_ms: service_time_ms.clone(),
        lag_ms: service_time_ms.as_ref().map(no_lag),
        service_time_ms,
        connect_ms: setup_times(&record.members, |ready| &ready.connect),
        prepare_ms: setup_times(&record.members, |ready| &ready.prepare),
        start_skew_ms: record.start_skew.map(|skew| skew.as_secs_f64() * 1e3),
        agents,
        workers,
        hosts: per_host(plan.workload.hosts(), &tally, &record.assignment, &record.workers),
        errors: errors(&tally, plan.workload.hosts()),
        placement: placement(plan, &record.assignment),
        events,
        thresholds: Vec::new(),
        query: query(plan, first_ready),
        database: first_ready.map(|ready| database(plan, ready)),
        tool: result::Tool { version: env!("CARGO_PKG_VERSION").to_owned(), command: plan.command.clone() },
    }
}

/// From the first query to the last. Agents report their own; for one that was lost, the arrival of the last result stands in.
fn wall_time(record: &Record, last_result: Option<Duration>) -> Duration {
    let reports = || record.members.iter().filter_map(|member| member.report.as_ref()).flatten();
    let reported = reports().map(|WorkerReport { ran_for, .. }| *ran_for).max();
    let has_all = record.members.iter().all(|member| member.report.is_some());
    let arrived = last_result.filter(|_| !has_all);
    reported.max(arrived).unwrap_or(Duration::ZERO)
}

/// The workers and the agents of the result, and all latencies together.
fn per_worker(
    record: &Record,
    tallies: &mut [WorkerTally],
) -> (Vec<result::Worker>, Vec<result::Agent>, Option<Summary>) {
    let placed = record.assignment.table();
    let mut workers = Vec::with_capacity(record.workers.len());
    let mut agents = Vec::with_capacity(record.members.len());
    let samples: Vec<Sorted> =
        tallies.iter_mut().map(|tally| std::mem::take(&mut tally.service_times).into_sorted()).collect();
    let mut positions = 0..record.workers.len();
    for member in &record.members {
        let mut agent = agent(member);
        let first = positions.start;
        for position in positions.by_ref().take(member.hello.workers.into()) {
            let WorkerTally { service_times: _, failed } = &tallies[position];
            let summary = Summary::of(&samples[position..=position]);
            let completed = summary.as_ref().map_or(0, |summary| summary.count);
            let load = &placed.workers[position];
            workers.push(result::Worker {
                worker: record.workers[position].to_string(),
                hosts: load.hosts,
                queries: load.rows,
                completed,
                failed: *failed,
                busy_ms: summary.as_ref().map_or(0.0, |summary| milliseconds(summary.sum_ns)),
                service_time_ms: summary.as_ref().map(result::Latency::from),
            });
            agent.hosts += load.hosts;
            agent.queries += load.rows;
            agent.completed += completed;
            agent.failed += *failed;
        }
        let summary = Summary::of(&samples[first..positions.start]);
        agent.service_time_ms = summary.as_ref().map(result::Latency::from);
        agents.push(agent);
    }
    (workers, agents, Summary::of(&samples))
}

fn agent(member: &Member) -> result::Agent {
    result::Agent {
        slot: member.grant.slot.to_string(),
        name: member.name(),
        version: member.hello.version.clone(),
        workers: member.hello.workers.into(),
        hosts: 0,
        queries: 0,
        completed: 0,
        failed: 0,
        service_time_ms: None,
        lost: member.lost.clone(),
    }
}

/// The hosts by mean service time, slowest first; those without a completed query last.
fn per_host(
    hosts: &HostTable,
    tally: &Tally,
    assignment: &Assignment,
    workers: &[WorkerId],
) -> Vec<result::Host> {
    let mean_ns = |host: &HostTally| {
        (host.completed > 0).then(|| host.service_time_sum_ns as f64 / f64::from(host.completed))
    };
    let has_run = |host: &HostTally| host.completed + host.failed > 0;
    let mut order: Vec<HostIndex> = hosts
        .iter()
        .map(|(index, _, _)| index)
        .filter(|index| has_run(&tally.hosts[index.index()]))
        .collect();
    order.sort_by(|a, b| {
        let of = |index: &HostIndex| mean_ns(&tally.hosts[index.index()]).unwrap_or(-1.0);
        of(b).total_cmp(&of(a))
    });
    let row = |index: HostIndex| {
        let host = &tally.hosts[index.index()];
        result::Host {
            host: hosts.name(index).to_owned(),
            worker: workers[assignment.workers()[index.index()] as usize].to_string(),
            completed: host.completed.into(),
            failed: host.failed.into(),
            mean_ms: mean_ns(host).map(|ns| ns / 1e6),
            max_ms: (host.completed > 0).then(|| host.service_time_max_ns as f64 / 1e6),
        }
    };
    order.into_iter().take(limits::HOSTS_REPORTED).map(row).collect()
}

fn errors(tally: &Tally, hosts: &HostTable) -> Vec<result::Error> {
    let error = |(error, seen): (QueryError, ErrorTally)| result::Error {
        sqlstate: error.sqlstate.to_string(),
        count: seen.count,
        message: error.message,
        row: seen.row.get().into(),
        host: hosts.name(seen.host).to_owned(),
    };
    tally.errors().into_iter().map(error).collect()
}

fn placement(plan: &RunPlan, assignment: &Assignment) -> result::Placement {
    let table = assignment.table();
    result::Placement {
        method: plan.placement.to_string(),
        workers: table.workers.len() as u64,
        idle: table.idle,
        skew: table.skew,
    }
}

fn query(plan: &RunPlan, ready: Option<&Ready>) -> result::Query {
    let template = plan.statement.template();
    result::Query {
        name: plan.statement.name().to_owned(),
        sql: ready.map_or_else(|| template.sql().to_owned(), |ready| ready.sql.clone()),
        protocol: "prepared".to_owned(),
        bucket_function: ready.and_then(|ready| ready.bucket_function.clone()),
    }
}

fn database(plan: &RunPlan, ready: &Ready) -> result::Database {
    result::Database {
        server_version: ready.database.server_version.clone(),
        timescaledb: ready.database.timescaledb.clone(),
        embedded: plan.embedded.clone(),
        settings: ready.database.settings.clone(),
    }
}

/// What is known today: whether every agent lived to the end and every row was asked for.
fn verdict(ending: Ending, members: &[Member]) -> result::Verdict {
    let mut reasons = Vec::new();
    match ending {
        Ending::Completed => {}
        Ending::Interrupted => reasons.push("the run was interrupted: run it again to the end".to_owned()),
        Ending::AgentsLost => {
            let lost = members.iter().filter_map(|member| Some((member, member.lost.as_ref()?)));
            reasons.extend(lost.map(|(member, why)| {
                format!(
                    "{} was lost ({why}); its log on {} may say more",
                    member.grant.slot, member.hello.machine
                )
            }));
        }
    }
    let status = if reasons.is_empty() { VerdictStatus::Valid } else { VerdictStatus::Degraded };
    result::Verdict { status, reasons }
}

/// Connect or prepare times of every worker, before the clock started.
fn setup_times(members: &[Member], times: impl Fn(&Ready) -> &Vec<Duration>) -> Option<result::Latency> {
    let mut samples = Samples::default();
    for time in members.iter().filter_map(|member| member.ready.as_ref()).flat_map(&times) {
        samples.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    Summary::of(&[samples.into_sorted()]).as_ref().map(result::Latency::from)
}

fn no_lag(service: &result::Latency) -> result::Latency {
    let zero = |supported: Option<f64>| supported.map(|_| 0.0);
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
    }
}

fn milliseconds(ns: u128) -> f64 {
    ns as f64 / 1e6
}

fn per_second(count: u32, wall: Duration) -> f64 {
    if wall.is_zero() { 0.0 } else { f64::from(count) / wall.as_secs_f64() }
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}
