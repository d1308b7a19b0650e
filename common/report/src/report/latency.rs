//! The latencies of a run: every figure of service time, and of response time and waits if queries had due times.

use muster_stats::latency::figure::{self, Figure};

use crate::result::{Latency, LoadModel, RunResult};

use super::load;
use super::model::{Block, Section};
use super::table::{Cell, ColumnKind, Table, TableOf, Unit};
use crate::units::{count, counted};

pub(super) fn section(result: &RunResult) -> Section {
    let Some(service) = &result.service_time_ms else {
        return Section::new("Latency", Vec::new()).about("none: no query completed");
    };
    let completed = result.queries.completed;
    let of = match service.count == completed {
        true => counted(completed, "query"),
        // Retried rows are counted, but excluded from latencies, because the second run may have found a warm cache.
        false => format!("{} of {}", count(service.count), counted(completed, "completed query")),
    };
    let mut series = vec![Series { title: "service", latency: service, has_intervals: true }];
    series.extend(open_loop(result).unwrap_or_default());
    let blocks = vec![Block::Table(table(&series)), Block::Fields(load::passes(result))];
    Section::new("Latency", blocks).of(of)
}

/// Times with their own column.
pub struct Series<'a> {
    pub title: &'static str,
    pub latency: &'a Latency,
    pub has_intervals: bool,
}

/// Times that are measured from the due time of queries. `None` if queries have no due times, in which case the response time equals the
/// service time.
fn open_loop(result: &RunResult) -> Option<Vec<Series<'_>>> {
    let lag = result.lag_ms.as_ref().filter(|_| has_due_times(result))?;
    let response =
        Series { title: "response", latency: result.response_time_ms.as_ref()?, has_intervals: true };
    let wait = |title, latency| Series { title, latency, has_intervals: false };
    Some(match (&result.queueing_ms, &result.generator_delay_ms) {
        (Some(queueing), Some(delay)) => {
            vec![response, wait("queueing", queueing), wait("gen. delay", delay)]
        }
        // Results of older versions contain only the whole lag.
        _ => vec![response, wait("lag", lag)],
    })
}

/// Returns true if queries had due times, so that response times differ from service times.
pub(crate) fn has_due_times(result: &RunResult) -> bool {
    result.load.model == LoadModel::Open || result.lag_ms.as_ref().is_some_and(|lag| lag.max > 0.0)
}

/// A row for each figure.
pub fn table(series: &[Series<'_>]) -> Table {
    let figures = TableOf::new(figure::ALL).labels("", |figure| figure.name.into());
    let table = series.iter().fold(figures, |table, Series { title, latency, has_intervals }| {
        let table = table.times(title, |figure| (figure.of)(latency));
        table.when(*has_intervals, |table| {
            table.column("95 % interval", ColumnKind::Interval, |figure| interval(figure, latency))
        })
    });
    table.table()
}

/// The interval of a figure, or the sample size that the figure or its interval needs, so that a missing figure is not mistaken for zero.
fn interval(figure: &Figure, latency: &Latency) -> Cell {
    match ((figure.of)(latency), (figure.interval)(latency)) {
        (None, _) => Cell::Needs(figure.count_min),
        (Some(_), Some(ends)) => Cell::Interval(ends, Unit::Milliseconds),
        (Some(_), None) if latency.count < figure.interval_count_min => {
            Cell::Needs(figure.interval_count_min)
        }
        (Some(_), None) => "".into(),
    }
}
