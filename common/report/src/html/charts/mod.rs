//! The charts of a page, and the figures at its top.

mod agents;
mod forest;
mod heat_map;
mod percentiles;
mod timeline;

use muster_stats::latency::figure::{self, Figure};

use super::chart::Chart;
use super::page::Headline;
use crate::report::latency::has_due_times;
use crate::result::comparison::Comparison;
use crate::result::{Latency, RunResult};
use crate::units::{count, counted, duration, duration_range, figure};

/// The most important figures of a run.
pub(super) fn headline(result: &RunResult) -> Vec<Headline> {
    let mut headlines = Vec::new();
    let (labels, latency) = match has_due_times(result) {
        true => {
            (["median response time", "p95 response time", "p99 response time"], &result.response_time_ms)
        }
        false => (["median service time", "p95 service time", "p99 service time"], &result.service_time_ms),
    };
    let figures = [&figure::MEDIAN, &figure::P95, &figure::P99];
    headlines.extend(latency.iter().flat_map(|latency| {
        labels.into_iter().zip(figures).map(|(label, figure)| of_figure(label, figure, latency))
    }));
    let queries = &result.queries;
    headlines.push(Headline {
        label: "throughput",
        value: format!("{}/s", figure(result.throughput_qps)),
        detail: format!("over {}", duration(result.wall_time_ms)),
    });
    let others =
        [(queries.failed, "failed"), (queries.unaccounted, "unaccounted"), (queries.retried, "retried")];
    let others = others.iter().filter(|(number, what)| *number > 0 || *what == "failed");
    headlines.push(Headline {
        label: "completed queries",
        value: count(queries.completed),
        detail: others
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect::<Vec<_>>()
            .join(", "),
    });
    headlines
}

fn of_figure(label: &'static str, figure: &Figure, latency: &Latency) -> Headline {
    let value = (figure.of)(latency);
    Headline {
        label,
        value: value.map_or_else(|| "–".to_owned(), duration),
        detail: match (value, (figure.interval)(latency)) {
            (None, _) => format!("needs {}", counted(figure.count_min, "query")),
            (Some(_), Some(ends)) => format!("95 % interval {}", duration_range(ends)),
            (Some(_), None) => String::new(),
        },
    }
}

pub(super) fn of_run(result: &RunResult) -> Vec<Chart> {
    let mut charts = timeline::charts(result);
    let Some(distributions) = &result.distributions else { return charts };
    charts.extend(heat_map::chart(result, distributions));
    charts.extend(percentiles::times(result, distributions));
    charts.extend(percentiles::lag(result, distributions));
    charts.extend(agents::chart(result, distributions));
    charts
}

pub(super) fn of_comparison(comparison: &Comparison) -> Vec<Chart> {
    let charts = [forest::chart(comparison), percentiles::of_both(comparison), forest::changes(comparison)];
    charts.into_iter().flatten().collect()
}
