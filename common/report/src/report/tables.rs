//! The tables of queries, agents, workers and hosts. A truncated table states where the other rows are.

use muster_stats::latency::figure::{self, Figure};

use crate::result::{Agent, Host, RunResult, Statement};

use super::model::{Block, Note, NoteKind, Section};
use super::table::{Cell, ColumnKind, Table, TableOf};
use crate::units::count;

/// Maximum number of rows of a table of queries, agents or workers.
const ROWS_MAX: usize = 20;
const HOSTS_MAX: usize = 10;
/// The figures that every table of latencies has.
const SUMMARY: [&Figure; 3] = [&figure::MEDIAN, &figure::P95, &figure::MAX];

/// The latencies of each query of a mix.
pub(super) fn statements(statements: &[Statement]) -> Option<Section> {
    let all = statements.len();
    let shown = &statements[..all.min(ROWS_MAX)];
    let table = TableOf::new(shown)
        .names("query", |statement| &statement.name)
        .counts("completed", |statement| statement.completed)
        .counts("failed", |statement| statement.failed)
        .figures([&figure::MEAN], |statement| statement.service_time_ms.as_ref())
        .figures(SUMMARY, |statement| statement.service_time_ms.as_ref());
    section("Queries", "first", [shown.len(), all, all], table.table())
}

pub(super) fn agents(agents: &[Agent]) -> Option<Section> {
    let all = agents.len();
    let shown = most(agents, |agent| agent.service_time_ms.as_ref().map(|latency| latency.mean));
    let table = TableOf::new(shown.iter().copied())
        .names("slot", |agent| &agent.slot)
        .names("name", |agent| &agent.name)
        .when(have_several_workers(agents), |table| table.counts("workers", |agent| agent.workers))
        .column("hosts", ColumnKind::Number, hosts_at_start_and_end)
        .counts("queries", |agent| agent.completed.saturating_add(agent.failed))
        .counts("failed", |agent| agent.failed)
        .figures(SUMMARY, |agent| agent.service_time_ms.as_ref());
    let mut section = section("Agents", "slowest by mean", [shown.len(), all, all], table.table())?;
    section.blocks.push(Block::Notes(lost(agents)));
    Some(section.detail())
}

/// Lists lost agents, including those whose row of the table was omitted.
fn lost(agents: &[Agent]) -> Vec<Note> {
    let note = |about: String, why: &String| Note::new(NoteKind::About(about), why);
    let replaced = agents.iter().flat_map(|agent| {
        let earlier = agent.sessions.split_last().map_or(&[][..], |(_, earlier)| earlier);
        earlier.iter().filter_map(move |session| Some((agent, session, session.lost.as_ref()?)))
    });
    let replaced =
        replaced.map(|(agent, session, why)| note(format!("{} replaced {}", agent.slot, session.name), why));
    let lost =
        agents.iter().filter_map(|agent| Some(note(format!("{} lost", agent.slot), agent.lost.as_ref()?)));
    let mut notes: Vec<Note> = replaced.take(ROWS_MAX).chain(lost.clone().take(ROWS_MAX)).collect();
    if let Some(more) = lost.count().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        notes.push(Note::sentence(format!("… and {more} more lost agents (in the JSON: all)")));
    }
    notes
}

/// The number of hosts at the start, and that at the end if it differs.
fn hosts_at_start_and_end(agent: &Agent) -> Cell {
    if agent.hosts == agent.hosts_at_end || agent.sessions.is_empty() {
        return Cell::Count(agent.hosts);
    }
    Cell::Words(format!("{} → {}", count(agent.hosts), count(agent.hosts_at_end)))
}

/// Returns true if an agent has several workers. Otherwise the table of workers would repeat the table of agents.
fn have_several_workers(agents: &[Agent]) -> bool {
    agents.iter().any(|agent| agent.workers > 1)
}

pub(super) fn workers(result: &RunResult) -> Option<Section> {
    let all = result.workers.len();
    let shown = most(&result.workers, |worker| Some(worker.busy_ms));
    let table = TableOf::new(shown.iter().copied())
        .names("worker", |worker| &worker.worker)
        .counts("hosts", |worker| worker.hosts)
        .counts("queries", |worker| worker.completed.saturating_add(worker.failed))
        .counts("failed", |worker| worker.failed)
        .times("busy", |worker| Some(worker.busy_ms))
        .figures(SUMMARY, |worker| worker.service_time_ms.as_ref());
    let section = section("Workers", "busiest", [shown.len(), all, all], table.table());
    section.filter(|_| have_several_workers(&result.agents)).map(Section::detail)
}

/// `all` is the number of hosts of the workload; the result contains only the slowest of them.
pub(super) fn hosts(hosts: &[Host], all: u64) -> Option<Section> {
    let shown: Vec<&Host> = hosts.iter().filter(|host| host.mean_ms.is_some()).take(HOSTS_MAX).collect();
    let table = TableOf::new(shown.iter().copied())
        .names("host", |host| &host.host)
        .names("worker", |host| &host.worker)
        .counts("completed", |host| host.completed)
        .counts("failed", |host| host.failed)
        .times(figure::MEAN.name, |host| host.mean_ms)
        .times(figure::MAX.name, |host| host.max_ms);
    let all = usize::try_from(all).unwrap_or(usize::MAX).max(hosts.len());
    section("Hosts", "slowest by mean", [shown.len(), hosts.len(), all], table.table()).map(Section::detail)
}

/// A section with a table; `None` without rows. If rows are omitted, it states how many are `shown`, in which order, and how many the JSON
/// contains.
fn section(
    name: &'static str,
    order: &str,
    [shown, in_json, all]: [usize; 3],
    table: Table,
) -> Option<Section> {
    let section = Section::new(name, vec![Block::Table(table)]);
    let in_json = if in_json == all { "all".to_owned() } else { count(in_json as u64) };
    match shown {
        0 => None,
        _ if shown == all => Some(section),
        _ => Some(
            section.about(format!("the {shown} {order} of {} (in the JSON: {in_json})", count(all as u64))),
        ),
    }
}

/// Returns all items in their order, or if there are too many, those with the greatest values. Items without a value come last.
fn most<T>(items: &[T], value: impl Fn(&T) -> Option<f64>) -> Vec<&T> {
    let mut shown: Vec<&T> = items.iter().collect();
    if shown.len() > ROWS_MAX {
        let key = |item: &T| value(item).unwrap_or(f64::NEG_INFINITY);
        shown.sort_by(|a, b| key(b).total_cmp(&key(a)));
        shown.truncate(ROWS_MAX);
    }
    shown
}
