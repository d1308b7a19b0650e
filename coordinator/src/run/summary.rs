//! From the books and the record of a run to its result. Pure: plain values in, plain values out.

use std::time::{Duration, SystemTime};

use muster_common::ids::{RowId, SlotId, WorkerId};
use muster_common::latency::Samples;
use muster_common::ledger::Ledger;
use muster_common::limits;
use muster_common::measurement::QueryError;
use muster_common::placement::{Assignment, Candidates};
use muster_common::result::{self, Ending, RunResult, VerdictStatus};
use muster_proto::control::{Ready, WorkerReport};

use super::conductor::{Move, Record};
use super::keeper::Books;
use super::plan::RunPlan;
use super::roster::Member;
use super::rows::Dropped;
use super::tally::{ErrorTally, HostTally, Tally, WorkerTally};
use crate::workload::{HostIndex, HostTable};

pub(crate) fn summarize(
    plan: &RunPlan,
    record: Record,
    ledger: Ledger,
    dropped: Dropped,
    quarantined: Vec<RowId>,
    books: Books,
) -> RunResult {
    let Books { mut tally, completed: _, failed: _, last_result } = books;
    let owners = owners_at_end(plan.workload.hosts(), &record);
    let wall = wall_time(&record, last_result.map(|last| last.saturating_duration_since(record.started)));
    let (workers, agents, mut all) = per_worker(&record, &mut tally.workers, &owners, plan);
    let all_summary = all.summarize();
    let total_ns = all_summary.as_ref().map_or(0, |summary| summary.sum_ns);
    let service_time_ms = all_summary.as_ref().map(result::Latency::from);
    drop(all);

    let first_ready = record.members.iter().find_map(|member| member.ready.as_ref());
    RunResult {
        schema: result::SCHEMA.to_owned(),
        run_id: plan.id.to_string(),
        started_at: Some(rfc3339(record.started_at)),
        ending: record.ending,
        verdict: verdict(&record),
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
            retried: tally.retried,
            duplicates: dropped.duplicates,
            stale: dropped.stale,
            quarantined_rows: quarantined.into_iter().map(|row| row.get().into()).collect(),
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
        hosts: per_host(plan.workload.hosts(), &tally, &owners, &record.workers),
        errors: errors(&tally, plan.workload.hosts()),
        placement: placement(plan, &record.assignment),
        events: record.events,
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

/// Each host's worker when the run ended, by the host's index: hosts of slots that were given up moved.
fn owners_at_end(hosts: &HostTable, record: &Record) -> Vec<u32> {
    let mut owners = record.assignment.workers().to_vec();
    for Move { from, to } in &record.moves {
        let targets: Vec<WorkerId> = to.iter().map(|position| record.workers[*position]).collect();
        let candidates = Candidates::new(&targets);
        for (host, name, _) in hosts.iter() {
            let owner = &mut owners[host.index()];
            if record.workers[*owner as usize].slot == *from {
                let position = to[candidates.owner(name) as usize];
                *owner = u32::try_from(position).expect("positions are 32 bits wide");
            }
        }
    }
    owners
}

/// The workers and the agents of the result, and all latencies together. Each worker's samples are moved on and freed as it goes.
fn per_worker(
    record: &Record,
    tallies: &mut [WorkerTally],
    owners: &[u32],
    plan: &RunPlan,
) -> (Vec<result::Worker>, Vec<result::Agent>, Samples) {
    let placed = record.assignment.table();
    let mut hosts_at_end = vec![0; record.workers.len()];
    owners.iter().for_each(|owner| hosts_at_end[*owner as usize] += 1);
    let mut workers = Vec::with_capacity(record.workers.len());
    let mut agents: Vec<result::Agent> = Vec::new();
    let mut all = Samples::with_capacity(plan.workload.rows() as usize);
    let mut position = 0;
    // Everybody who held a slot follows each other in the list.
    for holders in record.members.chunk_by(|a, b| slot_of(a) == slot_of(b)) {
        let mut agent_samples = Samples::default();
        let mut agent = agent(holders);
        let count = record.workers.iter().filter(|worker| Some(worker.slot) == slot_of(&holders[0])).count();
        for position in position..position + count {
            let WorkerTally { service_times, completed, failed } = &mut tallies[position];
            let mut samples = std::mem::take(service_times);
            let summary = samples.summarize();
            let load = &placed.workers[position];
            workers.push(result::Worker {
                worker: record.workers[position].to_string(),
                hosts: load.hosts,
                queries: load.rows,
                completed: *completed,
                failed: *failed,
                busy_ms: summary.as_ref().map_or(0.0, |summary| milliseconds(summary.sum_ns)),
                service_time_ms: summary.as_ref().map(result::Latency::from),
            });
            agent.hosts += load.hosts;
            agent.queries += load.rows;
            agent.completed += *completed;
            agent.failed += *failed;
            agent.hosts_at_end += hosts_at_end[position];
            agent_samples.absorb(samples);
        }
        position += count;
        agent.service_time_ms = agent_samples.summarize().as_ref().map(result::Latency::from);
        agents.push(agent);
        all.absorb(agent_samples);
    }
    (workers, agents, all)
}

fn slot_of(member: &Member) -> Option<SlotId> {
    member.grant.map(|grant| grant.slot)
}

/// A slot and everybody who held it, in order; there is at least one.
fn agent(holders: &[Member]) -> result::Agent {
    let last = &holders[holders.len() - 1];
    let session = |member: &Member| {
        let epoch = member.grant.map_or(0, |grant| grant.epoch.get());
        result::Session { epoch, name: member.name(), lost: member.lost.clone() }
    };
    result::Agent {
        slot: slot_of(last).map(|slot| slot.to_string()).unwrap_or_default(),
        name: last.name(),
        version: last.hello.version.clone(),
        workers: last.hello.workers.into(),
        hosts: 0,
        queries: 0,
        completed: 0,
        failed: 0,
        service_time_ms: None,
        lost: last.lost.clone(),
        hosts_at_end: 0,
        sessions: holders.iter().map(session).collect(),
    }
}

/// The hosts by mean service time, slowest first; those without a completed query last.
fn per_host(hosts: &HostTable, tally: &Tally, owners: &[u32], workers: &[WorkerId]) -> Vec<result::Host> {
    let mean_ns =
        |host: &HostTally| (host.timed > 0).then(|| host.service_time_sum_ns as f64 / f64::from(host.timed));
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
            worker: workers[owners[index.index()] as usize].to_string(),
            completed: host.completed.into(),
            failed: host.failed.into(),
            mean_ms: mean_ns(host).map(|ns| ns / 1e6),
            max_ms: (host.timed > 0).then(|| host.service_time_max_ns as f64 / 1e6),
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
fn verdict(record: &Record) -> result::Verdict {
    let mut reasons = Vec::new();
    match record.ending {
        Ending::Completed | Ending::AgentsLost => {}
        Ending::Interrupted => reasons.push("the run was interrupted: run it again to the end".to_owned()),
        Ending::WorkloadUnreadable => {
            reasons.push(
                "the workload could not be read to its end: leave the file alone while it is run".to_owned(),
            );
        }
    }
    if record.is_impaired || record.ending == Ending::AgentsLost {
        let lost = record.members.iter().filter_map(|member| Some((member, member.lost.as_ref()?)));
        reasons.extend(lost.filter_map(|(member, why)| {
            let slot = slot_of(member)?;
            Some(format!("{slot} was lost ({why}); its log on {} may say more", member.hello.machine))
        }));
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
    samples.summarize().as_ref().map(result::Latency::from)
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
