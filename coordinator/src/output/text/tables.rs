//! The tables of the text report: latency, queries, agents, workers and hosts. A truncated table states where the other rows are.

use muster_common::result::{Agent, Host, Latency, LoadModel, RunResult, Statement, Worker};

use super::LINES_MAX;
use crate::output::page::{Page, WIDTH};
use crate::output::table::{Align, Table};
use crate::output::units::{NONE, count, counted, duration_cell, duration_range};

/// Maximum number of rows of a table of queries, agents or workers.
const ROWS_MAX: usize = 20;
const HOSTS_MAX: usize = 10;

/// A statistic of a latency: its name, the sample size it needs, its value and its confidence interval.
type Figure = (&'static str, u64, fn(&Latency) -> Option<f64>, fn(&Latency) -> Option<[f64; 2]>);

pub(in crate::output) const FIGURES: [Figure; 9] = [
    ("min", 1, |latency| Some(latency.min), |_| None),
    ("median", 1, |latency| Some(latency.median), |latency| latency.intervals.median_ci),
    ("mean", 1, |latency| Some(latency.mean), |_| None),
    ("max", 1, |latency| Some(latency.max), |_| None),
    ("stddev", Latency::STDDEV_COUNT_MIN, |latency| latency.stddev, |_| None),
    ("p90", Latency::P90_COUNT_MIN, |latency| latency.p90, |latency| latency.intervals.p90_ci),
    ("p95", Latency::P95_COUNT_MIN, |latency| latency.p95, |latency| latency.intervals.p95_ci),
    ("p99", Latency::P99_COUNT_MIN, |latency| latency.p99, |latency| latency.intervals.p99_ci),
    ("p99.9", Latency::P99_9_COUNT_MIN, |latency| latency.p99_9, |latency| latency.intervals.p99_9_ci),
];

/// Shown beside a figure that the sample does not support, so that it is not mistaken for zero.
fn needs(count_min: u64) -> String {
    format!("(needs {})", counted(count_min, "query"))
}

fn needs_short(count_min: u64) -> String {
    format!("(needs {})", count(count_min))
}

/// The text beside a figure: its interval, or the sample size that the figure or its interval needs.
pub(in crate::output) fn interval(latency: &Latency, figure: Figure) -> String {
    interval_or(latency, figure, needs)
}

fn interval_or(
    latency: &Latency,
    (name, count_min, value, ends): Figure,
    needs: impl Fn(u64) -> String,
) -> String {
    match (value(latency), ends(latency)) {
        (None, _) => needs(count_min),
        (Some(_), Some(ends)) => duration_range(ends),
        (Some(_), None) if name == "median" => needs(Latency::MEDIAN_CI_COUNT_MIN),
        (Some(_), None) => String::new(),
    }
}

pub(super) fn latency(page: &mut Page, result: &RunResult) {
    let Some(service) = &result.service_time_ms else {
        page.section("LATENCY   none: no query completed");
        return;
    };
    let completed = result.queries.completed;
    page.section(&if service.count == completed {
        format!("LATENCY of {}", counted(completed, "query"))
    } else {
        // Retried rows are counted, but excluded from latencies, because the second run may have found a warm cache.
        format!("LATENCY of {} of {}", count(service.count), counted(completed, "completed query"))
    });
    let mut series = vec![Series::with_intervals("service", service)];
    if let Some(OpenLoop { response, waits }) = open_loop(result) {
        series.push(Series::with_intervals("response", response));
        series.extend(waits.into_iter().map(|(title, latency)| Series {
            title,
            latency,
            has_intervals: false,
        }));
    }
    let tables = SideColumns::ALL.map(|side| latency_table(&series, side));
    if let Some(table) = tables.iter().find(|table| table.fits(WIDTH)).or(tables.last()) {
        page.table(table);
    }
}

/// Times with their own column.
struct Series<'a> {
    title: &'static str,
    latency: &'a Latency,
    has_intervals: bool,
}

impl<'a> Series<'a> {
    fn with_intervals(title: &'static str, latency: &'a Latency) -> Self {
        Self { title, latency, has_intervals: true }
    }
}

/// What is shown beside the figures. It is reduced if the table is too wide; labels and figures are never shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SideColumns {
    /// Intervals, and the number of queries that a figure needs.
    Full,
    /// As `Full`, but the number of queries only beside the first series, because it is the same for the others.
    NeedsOnce,
    /// As `NeedsOnce`, without the word "queries".
    NeedsOnceShort,
    /// Intervals of the first series only.
    FirstSeries,
    None,
}

impl SideColumns {
    /// All variants, the widest first.
    const ALL: [Self; 5] = [Self::Full, Self::NeedsOnce, Self::NeedsOnceShort, Self::FirstSeries, Self::None];

    /// The text beside a figure of the series at `position`. `None` if this series has no such column.
    fn text(self, position: usize, series: &Series<'_>, figure: Figure) -> Option<String> {
        let nothing = |_| String::new();
        let latency = series.latency;
        match self {
            _ if !series.has_intervals => None,
            Self::None => None,
            Self::FirstSeries if position > 0 => None,
            Self::NeedsOnce | Self::NeedsOnceShort if position > 0 => {
                Some(interval_or(latency, figure, nothing))
            }
            Self::NeedsOnceShort => Some(interval_or(latency, figure, needs_short)),
            Self::Full | Self::NeedsOnce | Self::FirstSeries => Some(interval(latency, figure)),
        }
    }
}

const SERIES_MAX: usize = 4;
/// The label column, and two columns for each series.
const LATENCY_COLUMNS: usize = 1 + 2 * SERIES_MAX;

fn latency_table(series: &[Series<'_>], side: SideColumns) -> Table<LATENCY_COLUMNS> {
    let mut columns = [("", Align::LeftWhole); LATENCY_COLUMNS];
    for (position, one) in series.iter().take(SERIES_MAX).enumerate() {
        let has_intervals = side.text(position, one, FIGURES[0]).is_some();
        columns[1 + 2 * position] = (one.title, Align::Right);
        columns[2 + 2 * position].0 = if has_intervals { "95 % interval" } else { "" };
    }
    let mut table = Table::new(columns);
    for figure in FIGURES {
        let (name, _, value, _) = figure;
        let mut cells = [const { String::new() }; LATENCY_COLUMNS];
        cells[0] = name.to_owned();
        for (position, one) in series.iter().take(SERIES_MAX).enumerate() {
            cells[1 + 2 * position] = duration_cell(value(one.latency));
            cells[2 + 2 * position] = side.text(position, one, figure).unwrap_or_default();
        }
        table.row(cells);
    }
    table
}

/// Times that are measured from the due time of queries.
pub(in crate::output) struct OpenLoop<'a> {
    pub(in crate::output) response: &'a Latency,
    /// The parts of lag with their titles. Results of older versions contain only the whole lag.
    pub(in crate::output) waits: Vec<(&'static str, &'a Latency)>,
}

/// `None` if queries have no due times, in which case the response time equals the service time.
pub(in crate::output) fn open_loop(result: &RunResult) -> Option<OpenLoop<'_>> {
    let lag = result.lag_ms.as_ref().filter(|lag| lag.max > 0.0 || result.load.model == LoadModel::Open)?;
    let waits = match (&result.queueing_ms, &result.generator_delay_ms) {
        (Some(queueing), Some(delay)) => vec![("queueing", queueing), ("gen. delay", delay)],
        _ => vec![("lag", lag)],
    };
    Some(OpenLoop { response: result.response_time_ms.as_ref()?, waits })
}

/// The latencies of each query of a mix.
pub(super) fn statements(page: &mut Page, statements: &[Statement]) {
    if statements.is_empty() {
        return;
    }
    let shown = &statements[..statements.len().min(ROWS_MAX)];
    page.section(&title("QUERIES", "first", shown.len(), statements.len(), statements.len() as u64));
    let mut table = Table::new([
        ("query", Align::Left),
        ("completed", Align::Right),
        ("failed", Align::Right),
        ("mean", Align::Right),
        ("median", Align::Right),
        ("p95", Align::Right),
        ("max", Align::Right),
    ]);
    for statement in shown {
        let [median, p95, max] = summary(&statement.service_time_ms);
        table.row([
            statement.name.clone(),
            count(statement.completed),
            count(statement.failed),
            duration_cell(statement.service_time_ms.as_ref().map(|latency| latency.mean)),
            median,
            p95,
            max,
        ]);
    }
    page.table(&table);
}

pub(super) fn agents(page: &mut Page, agents: &[Agent]) {
    if agents.is_empty() {
        return;
    }
    let mut shown: Vec<&Agent> = agents.iter().collect();
    if agents.len() > ROWS_MAX {
        shown.sort_by(|a, b| mean(&b.service_time_ms).total_cmp(&mean(&a.service_time_ms)));
        shown.truncate(ROWS_MAX);
    }
    page.section(&title("AGENTS", "slowest by mean", shown.len(), agents.len(), agents.len() as u64));
    let has_workers = have_several_workers(agents);
    let mut table = Table::new([
        ("slot", Align::Left),
        ("name", Align::Left),
        (if has_workers { "workers" } else { "" }, Align::Right),
        ("hosts", Align::Right),
        ("queries", Align::Right),
        ("failed", Align::Right),
        ("median", Align::Right),
        ("p95", Align::Right),
        ("max", Align::Right),
    ]);
    for agent in shown {
        let [median, p95, max] = summary(&agent.service_time_ms);
        table.row([
            agent.slot.clone(),
            agent.name.clone(),
            if has_workers { count(agent.workers) } else { String::new() },
            hosts_at_start_and_end(agent),
            count(agent.completed.saturating_add(agent.failed)),
            count(agent.failed),
            median,
            p95,
            max,
        ]);
    }
    page.table(&table);
    lost(page, agents);
}

/// Lists lost agents, including those whose row of the table was omitted.
fn lost(page: &mut Page, agents: &[Agent]) {
    let lost: Vec<(&Agent, &String)> =
        agents.iter().filter_map(|agent| Some((agent, agent.lost.as_ref()?))).collect();
    let replaced = agents.iter().flat_map(|agent| {
        let earlier = agent.sessions.split_last().map_or(&[][..], |(_, earlier)| earlier);
        earlier.iter().filter_map(move |session| Some((agent, session, session.lost.as_ref()?)))
    });
    for (agent, session, why) in replaced.take(ROWS_MAX) {
        page.hanging(&format!("  {} replaced {}: ", agent.slot, session.name), why, LINES_MAX);
    }
    for (agent, why) in lost.iter().take(ROWS_MAX) {
        page.hanging(&format!("  {} lost: ", agent.slot), why, LINES_MAX);
    }
    if let Some(more) = lost.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        page.line(&format!("  … and {more} more lost agents (in the JSON: all)"));
    }
}

/// The number of hosts at the start, and that at the end if it differs.
fn hosts_at_start_and_end(agent: &Agent) -> String {
    if agent.hosts == agent.hosts_at_end || agent.sessions.is_empty() {
        return count(agent.hosts);
    }
    format!("{} → {}", count(agent.hosts), count(agent.hosts_at_end))
}

/// Returns true if an agent has several workers. Otherwise the table of workers would repeat the table of agents.
fn have_several_workers(agents: &[Agent]) -> bool {
    agents.iter().any(|agent| agent.workers > 1)
}

pub(super) fn workers(page: &mut Page, result: &RunResult) {
    if result.workers.is_empty() || !have_several_workers(&result.agents) {
        return;
    }
    let mut shown: Vec<&Worker> = result.workers.iter().collect();
    if shown.len() > ROWS_MAX {
        shown.sort_by(|a, b| b.busy_ms.total_cmp(&a.busy_ms));
        shown.truncate(ROWS_MAX);
    }
    page.section(&title(
        "WORKERS",
        "busiest",
        shown.len(),
        result.workers.len(),
        result.workers.len() as u64,
    ));
    let mut table = Table::new([
        ("worker", Align::Left),
        ("hosts", Align::Right),
        ("queries", Align::Right),
        ("failed", Align::Right),
        ("busy", Align::Right),
        ("median", Align::Right),
        ("p95", Align::Right),
        ("max", Align::Right),
    ]);
    for worker in shown {
        let [median, p95, max] = summary(&worker.service_time_ms);
        table.row([
            worker.worker.clone(),
            count(worker.hosts),
            count(worker.completed.saturating_add(worker.failed)),
            count(worker.failed),
            duration_cell(Some(worker.busy_ms)),
            median,
            p95,
            max,
        ]);
    }
    page.table(&table);
}

/// `all` is the number of hosts of the workload; the result contains only the slowest of them.
pub(super) fn hosts(page: &mut Page, hosts: &[Host], all: u64) {
    let measured = hosts.iter().filter(|host| host.mean_ms.is_some());
    let shown: Vec<&Host> = measured.take(HOSTS_MAX).collect();
    if shown.is_empty() {
        return;
    }
    page.section(&title("HOSTS", "slowest by mean", shown.len(), hosts.len(), all.max(hosts.len() as u64)));
    let mut table = Table::new([
        ("host", Align::Left),
        ("worker", Align::Left),
        ("completed", Align::Right),
        ("failed", Align::Right),
        ("mean", Align::Right),
        ("max", Align::Right),
    ]);
    for host in shown {
        table.row([
            host.host.clone(),
            host.worker.clone(),
            count(host.completed),
            count(host.failed),
            duration_cell(host.mean_ms),
            duration_cell(host.max_ms),
        ]);
    }
    page.table(&table);
}

/// The title of a table. If rows are omitted, it states how many, in which order, and how many the JSON contains.
fn title(name: &str, order: &str, shown: usize, in_json: usize, all: u64) -> String {
    if shown as u64 == all {
        return name.to_owned();
    }
    let in_json = if in_json as u64 == all { "all".to_owned() } else { count(in_json as u64) };
    format!("{name}   the {shown} {order} of {} (in the JSON: {in_json})", count(all))
}

/// The sort key of agents; agents without a completed query come last.
fn mean(latency: &Option<Latency>) -> f64 {
    latency.as_ref().map_or(f64::NEG_INFINITY, |latency| latency.mean)
}

fn summary(latency: &Option<Latency>) -> [String; 3] {
    match latency {
        Some(latency) => [Some(latency.median), latency.p95, Some(latency.max)].map(duration_cell),
        None => [NONE, NONE, NONE].map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixtures;
    use crate::output::page::columns;

    #[test]
    fn labels_and_figures_of_four_series_are_never_shortened() {
        let wide = |latency: &Latency| {
            let mut latency = latency.clone();
            let ends = Some([0.0999, 1_040.0]);
            latency.intervals.median_ci = ends;
            latency.intervals.p90_ci = ends;
            latency
        };
        let open = fixtures::open_loop();
        let latency = wide(open.service_time_ms.as_ref().unwrap());
        let few = wide(fixtures::good().service_time_ms.as_ref().unwrap());
        for (latency, needs) in [(&latency, ""), (&few, "4,603")] {
            let series = [
                Series::with_intervals("service", latency),
                Series::with_intervals("response", latency),
                Series { title: "queueing", latency, has_intervals: false },
                Series { title: "generator delay", latency, has_intervals: false },
            ];
            for count in 1..=series.len() {
                let tables = SideColumns::ALL.map(|side| latency_table(&series[..count], side));
                let lines = tables.iter().find(|table| table.fits(WIDTH)).unwrap().lines(WIDTH);
                let text = lines.join("\n");
                assert!(lines.iter().all(|line| columns(line) <= WIDTH), "{text}");
                assert!(
                    !text.contains('…') && text.contains("  median ") && text.contains("  p99.9 "),
                    "{text}"
                );
                assert!(text.contains(needs), "{text}");
            }
        }
    }
}
