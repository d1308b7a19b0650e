//! Percentiles on an axis of nines: 90 %, 99 % and 99.9 % are equally far from each other, so that the slowest queries have space.

use muster_stats::latency::figure;
use muster_stats::statistics::Confidence;

use crate::html::chart::{Axis, Chart, Data, Drawing, Entry};
use crate::html::scale::{Scale, duration_tick};
use crate::html::svg::{SIZE, band, label, polyline, rectangle};
use crate::result::comparison::{Comparison, Side};
use crate::result::{Bins, Distributions, Latency, RunResult};
use crate::units::duration_or_none;

/// A percentile is supported if the sample has a value above it with a probability of 99 %, as in every table of latencies.
const UNSUPPORTED: f64 = 0.01;
/// Points closer than this are not distinguished.
const STEP: f64 = 2.0;

struct Series<'a> {
    class: &'static str,
    label: &'static str,
    bins: &'a Bins,
    latency: Option<&'a Latency>,
}

/// Service times, and response times if rows had due times.
pub(super) fn times(result: &RunResult, distributions: &Distributions) -> Option<Chart> {
    let is_open = !distributions.response_time.0.is_empty();
    let service = Series {
        class: if is_open { "service" } else { "response" },
        label: "service time",
        bins: &distributions.service_time,
        latency: result.service_time_ms.as_ref(),
    };
    let response = Series {
        class: "response",
        label: "response time",
        bins: &distributions.response_time,
        latency: result.response_time_ms.as_ref(),
    };
    let series = if is_open { vec![response, service] } else { vec![service] };
    let about = "The share of queries that took at most this time. The band is the 95 % confidence interval; in the grey area the \
                 sample is too small.";
    chart("percentiles", "Percentiles", about, &series)
}

/// The two parts of lag; `None` if rows had no due times.
pub(super) fn lag(result: &RunResult, distributions: &Distributions) -> Option<Chart> {
    let queueing = Series {
        class: "queueing",
        label: "queueing: the connection was busy",
        bins: &distributions.queueing,
        latency: result.queueing_ms.as_ref(),
    };
    let delay = Series {
        class: "delay",
        label: "generator delay: the load generator was late",
        bins: &distributions.generator_delay,
        latency: result.generator_delay_ms.as_ref(),
    };
    let about = "How long queries waited between their due time and their start, and for what.";
    chart("lag", "Queueing and generator delay", about, &[queueing, delay])
}

/// The service times of both sides of a comparison.
pub(super) fn of_both(comparison: &Comparison) -> Option<Chart> {
    fn side<'c>(class: &'static str, label: &'static str, of: &'c Side) -> Series<'c> {
        Series { class, label, bins: &of.service_time_bins, latency: None }
    }
    let new = side("response", "new", &comparison.new);
    let base = side("queueing", "base", &comparison.base);
    let about = "The share of queries whose service time was at most this long. The band is the 95 % confidence interval of new; in the \
                 grey area the sample is too small.";
    let mut chart = chart("percentiles", "Percentiles of both", about, &[new, base])?;
    // The tables of the comparison have the figures.
    chart.data = None;
    Some(chart)
}

fn chart(id: &'static str, title: &'static str, about: &str, series: &[Series<'_>]) -> Option<Chart> {
    let main = series.first().filter(|main| !main.bins.0.is_empty())?;
    let count = main.bins.count();
    let y = Scale::log(series.iter().flat_map(|of| &of.bins.0).flat_map(|(from, to, _)| [*from, *to]))?;
    let x = Scale::linear(0.0, nines(1.0 - 0.5 / count as f64).max(nines(0.99)));
    let place = |share: f64, ms: f64| (x.at(nines(share)) * SIZE, (1.0 - y.at(ms)) * SIZE);
    let supported = x.at(nines(UNSUPPORTED.powf(1.0 / count as f64)));
    let mut plot = rectangle("unsupported", (supported * SIZE, 0.0), (SIZE, SIZE));
    plot += &confidence_band(main.bins, place);
    for of in series.iter().rev() {
        plot += &polyline(of.class, line(of.bins, place).into_iter().map(Some));
    }
    let ticks = [0.5, 0.9, 0.99, 0.999, 0.999_9, 0.999_99, 0.999_999].map(nines);
    let svg = Drawing {
        height_px: 260.0,
        x: Axis {
            scale: x,
            ticks: ticks.into_iter().filter(|tick| *tick <= x.ends()[1]).collect(),
            label: &percent_tick,
        },
        is_over_time: false,
        y: Some(Axis { scale: y, ticks: y.ticks(6), label: &duration_tick }),
        plot_size: (SIZE, SIZE),
        plot,
        overlay: if supported < 0.85 {
            label("remark", supported.midpoint(1.0), 250.0, "sample too small")
        } else {
            String::new()
        },
    };
    let row = |figure: &&figure::Figure| {
        let value = |of: &Series<'_>| duration_or_none(of.latency.and_then(figure.of));
        std::iter::once(figure.name.to_owned()).chain(series.iter().map(value)).collect()
    };
    Some(Chart {
        id,
        title,
        about: about.to_owned(),
        svg: svg.render(title),
        legend: series.iter().map(|of| Entry { class: of.class, label: of.label }).collect(),
        marks: Vec::new(),
        data: Some(Data {
            columns: std::iter::once("").chain(series.iter().map(|of| of.label)).collect(),
            rows: figure::ALL.iter().map(row).collect(),
        }),
    })
}

/// `50 %`, `99.9 %`, `99.9999 %`: as many digits as the position needs.
fn percent_tick(nines: f64) -> String {
    // Ticks are at most 6, so the cast is exact.
    let digits = (nines.ceil() as usize).saturating_sub(2);
    format!("{:.digits$} %", (1.0 - 10f64.powf(-nines)) * 100.0)
}

/// The position of a share of the queries: 0.9 is 1, 0.99 is 2.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The cumulative distribution, thinned to what can be seen.
fn line(bins: &Bins, place: impl Fn(f64, f64) -> (f64, f64)) -> Vec<(f64, f64)> {
    let count = bins.count() as f64;
    let mut below = 0.0;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (from, to, in_bin) in &bins.0 {
        if below == 0.0 {
            points.push(place(0.0, from.max(to / 2.0)));
        }
        below += *in_bin as f64;
        let (x, y) = place((below / count).min(1.0 - 0.5 / count), *to);
        if points.last().is_none_or(|(last_x, last_y)| (x - last_x).hypot(y - last_y) >= STEP)
            || below == count
        {
            points.push((x, y));
        }
    }
    points
}

/// The confidence interval of each percentile by the normal approximation of the ranks of its order statistics.
fn confidence_band(bins: &Bins, place: impl Fn(f64, f64) -> (f64, f64)) -> String {
    const POINTS: u32 = 120;
    let count = bins.count() as f64;
    let z = Confidence::P95.normal_quantile();
    let last = nines(UNSUPPORTED.powf(1.0 / count));
    let mut upper = Vec::new();
    let mut lower = Vec::new();
    for at in 1..=POINTS {
        let share = 1.0 - 10f64.powf(-last * f64::from(at) / f64::from(POINTS));
        let spread = z * (count * share * (1.0 - share)).sqrt();
        let [low, high] = [-spread, spread].map(|spread| at_rank(bins, count * share + spread));
        upper.push(place(share, high));
        lower.push(place(share, low));
    }
    band("confidence", &upper, &lower)
}

/// The upper end of the bin that has this rank, or the nearest one.
fn at_rank(bins: &Bins, rank: f64) -> f64 {
    let mut below = 0.0;
    let bin = bins.0.iter().find(|(_, _, count)| {
        below += *count as f64;
        below >= rank
    });
    bin.or(bins.0.last()).map_or(0.0, |(_, to, _)| *to)
}
