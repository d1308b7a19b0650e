//! Computes the result of a run from its aggregates and record. Pure: plain values in, plain values out.

use std::time::Duration;

use muster_common::ids::{RowId, SlotId, WorkerId};
use muster_common::latency::{Samples, Summary};
use muster_common::ledger::Ledger;
use muster_common::limits;
use muster_common::load::{Load, Warmup};
use muster_common::placement::{Assignment, Candidates, Method};
use muster_common::protocol::{PlanCacheMode, Protocol, UsedFormat};
use muster_common::query::name_parameters;
use muster_common::result::{self, Cause, Ending, RunResult};
use muster_common::sample::SqlState;

use super::evidence::{self, VerdictInput};
use super::latencies::{DueTimes, Latencies, Part};
use super::notes;
use super::record::{Found, Move, Record, Searched, Session};
use super::server_side::{self, Client};
use super::servers;
use super::statements::Statement;
use super::tally::{Answers, ErrorTally, HostTally, Tally, WorkerTally};
use super::{utilization, versus};
use crate::threshold::{self, Threshold};
use crate::workload::{HostIndex, HostTable};

/// The parameters of a run that its result states. They come from the running process, or from the manifest of a run read from its journal.
pub(crate) struct Subject<'a> {
    pub(crate) run_id: String,
    pub(crate) workload: result::Workload,
    pub(crate) hosts: &'a HostTable,
    pub(crate) placement: Method,
    /// At least one.
    pub(crate) statements: Vec<StatementText>,
    pub(crate) load: &'a Load,
    /// Where the embedded server's programs came from. `None` without an embedded server.
    pub(crate) embedded: Option<String>,
    pub(crate) command: String,
    pub(crate) thresholds: &'a [Threshold],
}

/// A statement of the run.
pub(crate) struct StatementText {
    pub(crate) name: String,
    /// The SQL text. The text of the default query depends on the server; this is the one for TimescaleDB.
    pub(crate) sql: String,
    /// The columns that `$1`, `$2`, … represent.
    pub(crate) columns: Vec<String>,
    pub(crate) weight: u32,
}

impl StatementText {
    pub(crate) fn of(statement: &Statement) -> Self {
        let (name, template) = (statement.name().to_owned(), statement.template());
        let (sql, columns) = (template.sql().to_owned(), template.columns().to_owned());
        Self { name, sql, columns, weight: statement.weight() }
    }
}

/// The outcome of the rows.
pub(crate) struct Counted {
    pub(crate) ledger: Ledger,
    pub(crate) quarantined: Vec<RowId>,
    pub(crate) tally: Tally,
}

pub(crate) fn summarize(
    subject: &Subject<'_>,
    record: Record,
    assignment: &Assignment,
    counted: Counted,
) -> RunResult {
    let Counted { ledger, quarantined, mut tally } = counted;
    let workers = record.workers();
    let owners = owners_at_end(subject.hosts, &record, assignment, &workers);
    let wall = Duration::from_nanos(tally.ran_for_ns);
    let latencies = Latencies::take(&mut tally.workers);
    // Time without an agent or a connection is not overhead, even if the agent closed the connection itself after a timeout.
    let is_connected = servers::was_connected(&record);
    let was_uninterrupted =
        record.resumed == 0 && record.lost_while_running().next().is_none() && is_connected;
    let overhead_load = was_uninterrupted.then_some(subject.load);
    let (worker_results, agents) =
        per_worker(&record, &workers, assignment, &tally, &latencies, &owners, overhead_load);
    let mut notes: Vec<String> =
        record.workload_changed.then(|| notes::WORKLOAD_CHANGED.to_owned()).into_iter().collect();
    notes.extend(notes::survivors(ledger.completed().into(), ledger.failed().into()));
    notes.extend(notes::outlying_agents(&agents, &latencies.by_slot(&record)));
    notes.extend(notes::different_answers(tally.seen_answers.differences(), &record, subject.hosts));
    let found = record.found();
    let early = latencies.early_and_later(|statement| has_custom_plans_first(subject, found, statement));
    notes.extend(early.as_ref().map(|(early, later)| notes::early_executions(early, later)));
    if record.sessions.iter().filter_map(|session| session.found.as_ref()).any(|found| found.is_pooled) {
        notes.push(notes::pooled());
    }
    notes.extend(servers::same_twice(&record));
    let all_summary = latencies.service(|part| part.class.is_first());
    let total_ns = all_summary.as_ref().map_or(0, |summary| summary.sum_ns);
    let service_time_ms = all_summary.as_ref().map(result::Latency::from);
    // Without due times a row is due when its worker becomes free, so lag is 0 by definition.
    let has_due_times = subject.load.has_due_times();
    let due_times = latencies.due_times(0).or_else(|| {
        let (response, zero) = (service_time_ms.clone()?, no_lag(service_time_ms.as_ref()?));
        let [lag, queueing, generator_delay] = [zero.clone(), zero.clone(), zero];
        Some(DueTimes { response, lag, queueing, generator_delay })
    });
    let utilization = utilization::utilization(&tally.workers, &workers, subject.load, was_uninterrupted);
    let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
    let ran_to_its_end = record.ending == Some(Ending::Completed) && record.resumed == 0;
    let due = utilization::due(subject.load, &rows_of_worker).filter(|_| ran_to_its_end);
    let load = load(subject.load, &record.search, &ledger, wall, due);
    let cut_off = load.cut_off(workers.len());
    let fell_behind =
        due_times.as_ref().is_some_and(|from| utilization::fell_behind(&load, &from.lag, wall, cut_off));
    let position = notes.len();
    if found.is_none_or(|found| !found.is_no_database()) {
        let (completed, _) = latencies.counted(|part| part.class.is_first());
        notes.extend(notes::no_rows(completed, &tally.answers[0]));
    }
    // A coordinator that was killed after the last row recorded no ending, although the run was complete.
    let is_complete = ledger.unaccounted() == 0 && !tally.passes().is_endless();
    let ending = record.ending.unwrap_or(if is_complete { Ending::Completed } else { Ending::Unfinished });
    let coordinator_health = evidence::coordinator_health(&record);
    let input = VerdictInput {
        ending,
        agents: &agents,
        coordinator: coordinator_health.as_ref(),
        has_embedded_server: subject.embedded.is_some(),
        queries: [ledger.completed(), ledger.failed()],
        service: service_time_ms.as_ref(),
        generator_delay: due_times.as_ref().map(|from| &from.generator_delay).filter(|_| has_due_times),
        overhead: utilization.as_ref().filter(|_| !has_due_times || fell_behind),
    };
    let verdict = evidence::verdict(&record, &input);
    // These notes are inserted before those that follow from the results.
    let was_absent = !was_uninterrupted || verdict.causes.contains(&Cause::AgentStoodStill);
    let queueing = due_times.as_ref().zip(utilization.as_ref()).and_then(|(from, utilization)| {
        let rates = fell_behind.then_some(&load);
        notes::queueing(rates, service_time_ms.as_ref()?, from, utilization, was_absent)
    });
    let waits = cut_off.map(notes::cut_off).into_iter().chain(queueing);
    notes.splice(position..position, waits);
    let host_samples = std::mem::take(&mut tally.host_samples).into_sorted();
    let mut result = RunResult {
        schema: result::SCHEMA.to_owned(),
        run_id: subject.run_id.clone(),
        started_at: record.started_at.clone(),
        ending,
        verdict,
        notes,
        workload: subject.workload.clone(),
        queries: result::Queries {
            total: ledger.expected().into(),
            completed: ledger.completed().into(),
            failed: ledger.failed().into(),
            unaccounted: ledger.unaccounted().into(),
            retried: tally.retried,
            duplicates: record.dropped.duplicates,
            stale: record.dropped.stale,
            quarantined_rows: quarantined.into_iter().map(|row| row.get().into()).collect(),
            unaccounted_rows: ledger
                .unaccounted_ranges()
                .into_iter()
                .map(|range| range.map(|row| row.get().into()))
                .collect(),
        },
        result: answers(&tally.answers[0]),
        total_processing_time_ms: milliseconds(total_ns),
        wall_time_ms: wall.as_secs_f64() * 1e3,
        throughput_qps: per_second(ledger.completed(), wall),
        load,
        search: search(subject.load, &record.search),
        early_executions: early
            .as_ref()
            .map(|(early, later)| result::EarlyExecutions { early: early.into(), later: later.into() }),
        passes: latencies.first_and_later().map(|(first, later)| result::Passes {
            first: first.as_ref().map(result::Latency::from),
            later: later.as_ref().map(result::Latency::from),
        }),
        statements: statements(subject, &latencies, found),
        response_time_ms: due_times.as_ref().map(|from| from.response.clone()),
        lag_ms: due_times.as_ref().map(|from| from.lag.clone()),
        queueing_ms: due_times.as_ref().map(|from| from.queueing.clone()),
        generator_delay_ms: due_times.map(|from| from.generator_delay),
        utilization,
        service_time_ms,
        connect_ms: setup_times(&record, |found| &found.connect_ns),
        prepare_ms: setup_times(&record, |found| &found.prepare_ns),
        start_skew_ms: record.start_skew.map(|skew| skew.as_secs_f64() * 1e3),
        agents,
        workers: worker_results,
        hosts: per_host(subject.hosts, &tally, &owners, &workers),
        errors: errors(&tally, subject),
        placement: placement(subject, assignment),
        thresholds: Vec::new(),
        query: query(subject, found),
        database: found
            .filter(|found| !found.is_no_database())
            .map(|found| servers::describe(database(subject, found, &record), &record, 0)),
        tool: result::Tool {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: subject.command.clone(),
        },
        versus: None,
        events: record.events.clone(),
        coordinator_health,
        server: server_side::summarize(
            &record.server,
            &Client {
                statements: &subject.statements,
                latencies: &latencies,
                is_resumed: record.resumed > 0,
                has_embedded_server: subject.embedded.is_some(),
            },
        ),
    };
    result.thresholds = threshold::judge(subject.thresholds, &result, |wants| {
        host_samples.figures(subject.hosts, &tally.hosts, wants)
    });
    result.versus = versus::compare(&result, &latencies, &tally, &record).map(Box::new);
    result
}

/// Returns true if PostgreSQL uses custom plans for the first executions of this statement, and then decides on the plan type.
fn has_custom_plans_first(subject: &Subject<'_>, found: Option<&Found>, statement: u16) -> bool {
    let set = || found.and_then(|found| found.settings.get("plan_cache_mode")?.parse().ok());
    let mode = subject.load.plan_cache_mode.or_else(set).unwrap_or(PlanCacheMode::Auto);
    let statement = subject.statements.get(usize::from(statement));
    let has_parameters = statement.is_some_and(|statement| !statement.columns.is_empty());
    decides_by_first_executions(subject.load.protocol, mode, has_parameters)
}

/// Returns true only for a prepared statement in the automatic plan cache mode. A statement without parameters has a generic plan from the
/// first execution on (`choose_custom_plan` in plancache.c).
fn decides_by_first_executions(protocol: Protocol, mode: PlanCacheMode, has_parameters: bool) -> bool {
    protocol == Protocol::Prepared && mode == PlanCacheMode::Auto && has_parameters
}

pub(super) fn answers(answers: &Answers) -> result::Answers {
    let Answers { rows, bytes, digest } = *answers;
    result::Answers { rows, bytes, digest: format!("{digest:016x}") }
}

/// Each host's worker at the end of the run, by the host's index. Hosts of slots that were given up have moved.
fn owners_at_end(
    hosts: &HostTable,
    record: &Record,
    assignment: &Assignment,
    workers: &[WorkerId],
) -> Vec<u32> {
    let mut owners = assignment.workers().to_vec();
    for Move { from, to } in &record.moves {
        let targets: Vec<WorkerId> = to.iter().map(|position| workers[*position]).collect();
        let candidates = Candidates::new(&targets);
        for (host, name, _) in hosts.iter() {
            let owner = &mut owners[host.index()];
            if workers[*owner as usize].slot == *from {
                let position = to[candidates.owner(name) as usize];
                *owner = u32::try_from(position).expect("positions are 32 bits wide");
            }
        }
    }
    owners
}

/// The workers and the agents of the result. `load` is `None` if workers were missing for a time, because then the overhead is unknown.
fn per_worker(
    record: &Record,
    ids: &[WorkerId],
    assignment: &Assignment,
    tally: &Tally,
    latencies: &Latencies,
    owners: &[u32],
    load: Option<&Load>,
) -> (Vec<result::Worker>, Vec<result::Agent>) {
    let placed = assignment.table();
    let passes = tally.passes();
    let mut hosts_at_end = vec![0; ids.len()];
    owners.iter().for_each(|owner| hosts_at_end[*owner as usize] += 1);
    let mut workers = Vec::with_capacity(ids.len());
    let mut agents: Vec<result::Agent> = Vec::new();
    for slot in (0u16..).map(SlotId::new).take(record.workers_of_slot.len()) {
        let mut agent = agent(slot, record);
        for position in record.workers_of(slot) {
            let worker = &tally.workers[position];
            let WorkerTally { times: _, completed, failed, occupied: _ } = worker;
            let summary = latencies.service_of(position..position + 1);
            let placed = &placed.workers[position];
            let queries = match passes.is_endless() {
                // The clock ended the run, so the number of queries was not known in advance.
                true => *completed + *failed,
                false => placed.rows * u64::from(passes.count()) * u64::from(passes.targets()),
            };
            workers.push(result::Worker {
                worker: ids[position].to_string(),
                hosts: placed.hosts,
                queries,
                completed: *completed,
                failed: *failed,
                generator_overhead_ms: load.map(|load| utilization::overhead_ms(worker, load)),
                busy_ms: summary.as_ref().map_or(0.0, |summary| milliseconds(summary.sum_ns)),
                service_time_ms: summary.as_ref().map(result::Latency::from),
            });
            agent.hosts += placed.hosts;
            agent.queries += queries;
            agent.completed += *completed;
            agent.failed += *failed;
            agent.hosts_at_end += hosts_at_end[position];
        }
        let summary = latencies.service_of(record.workers_of(slot));
        agent.service_time_ms = summary.as_ref().map(result::Latency::from);
        let busy_ms = summary.as_ref().map_or(0.0, |summary| milliseconds(summary.sum_ns));
        agent.health = evidence::agent_health(record, slot, busy_ms);
        agents.push(agent);
    }
    (workers, agents)
}

/// The load of the run; in a search, that of the round that counts.
fn load(load: &Load, searched: &Searched, ledger: &Ledger, wall: Duration, due: Option<u64>) -> result::Load {
    let Load { schedule, think_time, warmup, repeat, duration, search, seed, .. } = load;
    let counted = searched.counted.filter(|_| search.is_some());
    let process = schedule.as_ref().map(|schedule| schedule.process);
    let process = process.or(search.as_ref().map(|search| search.process));
    let duration_ms = duration.map(|duration| duration.as_secs_f64() * 1e3);
    let ran = u64::from(ledger.completed()) + u64::from(ledger.failed());
    let [scheduled_qps, achieved_qps] = match utilization::rates(load, counted, ran, wall) {
        Some(rates) => rates.map(Some),
        None => [None; 2],
    };
    result::Load {
        model: if process.is_some() { result::LoadModel::Open } else { result::LoadModel::Closed },
        rate: schedule
            .as_ref()
            .map(|schedule| schedule.rate.to_string())
            .or(counted.map(|(rate, _)| rate.to_string())),
        arrivals: process.map(|process| process.to_string()),
        scheduled_qps,
        achieved_qps,
        think_time_ms: think_time.as_secs_f64() * 1e3,
        warmup: warmup.map(|warmup| match warmup {
            Warmup::Rows(rows) => format!("{rows} rows"),
            Warmup::Time(time) => format!("{time:?}"),
        }),
        repeat: (duration.is_none() && search.is_none()).then_some(u64::from(*repeat)),
        duration_ms: duration_ms.or(counted.map(|(_, lasts_ms)| lasts_ms)),
        due,
        not_begun: due.map(|due| due.saturating_sub(ran + u64::from(ledger.unaccounted()))),
        seed: *seed,
    }
}

fn search(load: &Load, searched: &Searched) -> Option<result::Search> {
    let plan = load.search.as_ref()?;
    let answer = muster_common::search::answer(&searched.steps);
    Some(result::Search {
        objective: plan.objective.to_string(),
        highest_rate: answer.map(|answer| answer.rate),
        is_confirmed: answer.is_some_and(|answer| answer.is_confirmed),
        steps: searched.steps.clone(),
    })
}

/// An agent of the result: a slot with all sessions that ran its rows, in order.
fn agent(slot: SlotId, record: &Record) -> result::Agent {
    let ran = |session: &&Session| session.grant.slot == slot && session.offset_ns.is_some();
    let sessions: Vec<&Session> = record.sessions.iter().filter(ran).collect();
    let last = sessions.last();
    let lost = |session: &Session| session.lost.as_ref().map(|loss| loss.reason.clone());
    result::Agent {
        slot: slot.to_string(),
        name: last.map(|last| last.name()).unwrap_or_default(),
        version: last.map(|last| last.version.clone()).unwrap_or_default(),
        workers: record.workers_of(slot).len() as u64,
        hosts: 0,
        queries: 0,
        completed: 0,
        failed: 0,
        service_time_ms: None,
        lost: last.and_then(|last| lost(last)),
        hosts_at_end: 0,
        sessions: sessions
            .iter()
            .map(|session| result::Session {
                epoch: session.grant.epoch.get(),
                name: session.name(),
                lost: lost(session),
            })
            .collect(),
        health: None,
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

/// The errors of the result. Parameters such as `$2` are replaced with the names of the workload's columns.
fn errors(tally: &Tally, subject: &Subject<'_>) -> Vec<result::Error> {
    let error = |(sqlstate, message, tally): (SqlState, String, ErrorTally)| {
        let ErrorTally { count, first } = tally;
        let statement = subject.statements.get(usize::from(first.statement));
        let columns = statement.map(|statement| statement.columns.as_slice()).unwrap_or_default();
        // Errors of other classes quote values, and `$2` may be part of a value.
        let columns = if sqlstate.is_about_statement() { columns } else { &[] };
        let named = |text: String| name_parameters(&text, columns);
        result::Error {
            sqlstate: sqlstate.to_string(),
            count,
            message: named(message),
            detail: first.detail.map(named),
            hint: first.hint.map(named),
            row: first.row.get().into(),
            host: subject.hosts.name(first.host).to_owned(),
        }
    };
    tally.errors().into_iter().map(error).collect()
}

fn placement(subject: &Subject<'_>, assignment: &Assignment) -> result::Placement {
    let table = assignment.table();
    result::Placement {
        method: subject.placement.to_string(),
        workers: table.workers.len() as u64,
        idle: table.idle,
        skew: table.skew,
    }
}

fn query(subject: &Subject<'_>, found: Option<&Found>) -> result::Query {
    let names: Vec<&str> = subject.statements.iter().map(|statement| statement.name.as_str()).collect();
    let first = subject.statements.first().map(|statement| statement.sql.clone()).unwrap_or_default();
    result::Query {
        name: names.join(" + "),
        sql: found.map_or(first, |found| found.sql.clone()),
        protocol: subject.load.protocol.to_string(),
        results: results(subject.load, found, 0),
        bucket_function: found.and_then(|found| found.bucket_function.clone()),
    }
}

/// The format of a statement's results, and the reason for it.
fn results(load: &Load, found: Option<&Found>, statement: usize) -> Option<result::ResultFormat> {
    let UsedFormat { format, without_binary } = found?.results.get(statement)?;
    let reason = match (without_binary.as_slice(), load.results) {
        _ if load.protocol == Protocol::Simple => "the simple protocol supports no other format".to_owned(),
        (_, Some(_)) => "--results".to_owned(),
        ([], None) => "default".to_owned(),
        ([one], None) => format!("{one} has no binary output"),
        (several, None) => format!("{} have no binary output", several.join(", ")),
    };
    Some(result::ResultFormat { format: format.to_string(), reason })
}

/// The figures of each statement of a mix. Empty for a single statement, to which the whole report refers.
fn statements(subject: &Subject<'_>, latencies: &Latencies, found: Option<&Found>) -> Vec<result::Statement> {
    if subject.statements.len() < 2 {
        return Vec::new();
    }
    (0u16..)
        .zip(&subject.statements)
        .map(|(position, StatementText { name, sql, columns: _, weight })| {
            let of = |part: &Part| part.class.is_first() && part.class.statement == position;
            let summary = latencies.service(of);
            let (completed, failed) = latencies.counted(of);
            result::Statement {
                name: name.clone(),
                sql: sql.clone(),
                results: results(subject.load, found, usize::from(position)),
                weight: (*weight).into(),
                completed,
                failed,
                total_processing_time_ms: summary
                    .as_ref()
                    .map_or(0.0, |summary| milliseconds(summary.sum_ns)),
                service_time_ms: summary.as_ref().map(result::Latency::from),
                response_time_ms: latencies.response(of),
            }
        })
        .collect()
}

fn database(subject: &Subject<'_>, found: &Found, record: &Record) -> result::Database {
    result::Database {
        server_version: found.server_version.clone(),
        timescaledb: found.timescaledb.clone(),
        embedded: subject.embedded.clone(),
        settings: found.settings.clone(),
        identity: None,
        other_identities: Vec::new(),
        reconnects: servers::broken(record).to_result(),
    }
}

/// Connect or prepare times of every worker, before the clock started.
fn setup_times(record: &Record, times: impl Fn(&Found) -> &Vec<u64>) -> Option<result::Latency> {
    let mut samples = Samples::default();
    let found = record.sessions.iter().filter_map(|session| session.found.as_ref());
    found.flat_map(&times).for_each(|time| samples.push(*time));
    Summary::of(&[samples.into_sorted()]).as_ref().map(result::Latency::from)
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

fn milliseconds(ns: u128) -> f64 {
    ns as f64 / 1e6
}

fn per_second(count: u32, wall: Duration) -> f64 {
    if wall.is_zero() { 0.0 } else { f64::from(count) / wall.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_executions_are_separate_only_if_postgresql_decides_after_them() {
        use PlanCacheMode::{Auto, ForceCustomPlan, ForceGenericPlan};
        let decides = decides_by_first_executions;
        assert!(decides(Protocol::Prepared, Auto, true));
        assert!(!decides(Protocol::Prepared, Auto, false), "without parameters every plan is generic");
        assert!(!decides(Protocol::Prepared, ForceCustomPlan, true), "each execution is planned");
        assert!(!decides(Protocol::Prepared, ForceGenericPlan, true), "only the first one is planned");
        assert!(!decides(Protocol::Extended, Auto, true) && !decides(Protocol::Simple, Auto, true));
    }
}
