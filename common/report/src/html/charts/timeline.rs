//! Charts over time: throughput, latency, and the number of running agents. They share one time axis and the marks of events.

use crate::html::chart::{Axis, Chart, Data, Drawing, Entry};
use crate::html::scale::{Scale, duration_tick, plain, time_tick};
use crate::html::svg::{SIZE, label, polyline, vertical};
use crate::result::{Event, Interval, IntervalLatency, RunResult};
use crate::units::{count, duration, duration_or_none, figure};
use muster_core::printable::harmless;

/// More numbered marks could not be read. The list of events has all.
const MARKS_MAX: usize = 20;

pub(super) fn charts(result: &RunResult) -> Vec<Chart> {
    let Some(time) = time(&result.series) else { return Vec::new() };
    let marks = Marks::of(&result.events, &time);
    let mut charts = vec![throughput(&result.series, time, &marks)];
    charts.extend(latency(&result.series, time, &marks));
    charts.extend(running_agents(&result.series, time, &marks));
    charts
}

/// The time axis of a run; `None` without intervals.
pub(super) fn time(series: &[Interval]) -> Option<Scale> {
    Some(Scale::linear(series.first()?.start_ms, series.last()?.end_ms))
}

/// Events as vertical lines with numbers.
struct Marks {
    lines: String,
    numbers: String,
    texts: Vec<String>,
}

impl Marks {
    fn of(events: &[Event], time: &Scale) -> Self {
        let [from, to] = time.ends();
        let mut during =
            events.iter().filter(|event| event.run_ms.is_some_and(|ms| (from..=to).contains(&ms)));
        let shown: Vec<&Event> = during.by_ref().take(MARKS_MAX).collect();
        let mut marks = Self { lines: String::new(), numbers: String::new(), texts: Vec::new() };
        for (number, event) in (1..).zip(&shown) {
            let at = time.at(event.run_ms.unwrap_or_default());
            marks.lines += &vertical("event", at * SIZE);
            // Neighbours are on different lines, because they may be close to each other.
            let y_px = 11.0 + f64::from((number - 1) % 3) * 12.0;
            marks.numbers += &label("event-number", at, y_px, &number.to_string());
            marks.texts.push(format!(
                "{}: {}",
                duration(event.run_ms.unwrap_or_default()),
                harmless(&event.what)
            ));
        }
        let more = during.count();
        if more > 0 {
            marks.texts.push(format!("{more} more, listed under Events"));
        }
        marks
    }
}

fn x_axis(time: Scale, label: &dyn Fn(f64) -> String) -> Axis<'_> {
    Axis { scale: time, ticks: time.ticks(6), label }
}

fn throughput(series: &[Interval], time: Scale, marks: &Marks) -> Chart {
    const TITLE: &str = "Throughput over time";
    let failures_per_s =
        |it: &Interval| it.failed as f64 / ((it.end_ms - it.start_ms) / 1e3).max(f64::MIN_POSITIVE);
    let highest = series.iter().map(|it| it.rate_qps.max(failures_per_s(it))).fold(0.0, f64::max);
    let y = Scale::linear(0.0, highest * 1.08);
    let has_failures = series.iter().any(|it| it.failed > 0);
    let mut plot = marks.lines.clone() + &steps("rate", series, &time, &y, |it| it.rate_qps);
    if has_failures {
        plot += &steps("failed", series, &time, &y, failures_per_s);
    }
    let label_of_time = |ms| time_tick(ms, time.ends()[1]);
    let svg = Drawing {
        height_px: 130.0,
        x: x_axis(time, &label_of_time),
        is_over_time: true,
        y: Some(Axis { scale: y, ticks: y.ticks(3), label: &|rate| format!("{}/s", plain(rate)) }),
        plot_size: (SIZE, SIZE),
        plot,
        overlay: marks.numbers.clone(),
    };
    let mut legend = vec![Entry { class: "rate", label: "completed queries per second" }];
    legend.extend(has_failures.then_some(Entry { class: "failed", label: "failed queries per second" }));
    let row = |it: &Interval| {
        vec![span(it), figure(it.rate_qps), count(it.completed), count(it.failed), count(it.agents)]
    };
    Chart {
        id: "throughput",
        title: TITLE,
        about: "A query counts in the interval in which it ended.".to_owned(),
        svg: svg.render(TITLE),
        legend,
        marks: marks.texts.clone(),
        data: Some(Data {
            columns: vec!["time", "queries/s", "completed", "failed", "running agents"],
            rows: series.iter().map(row).collect(),
        }),
    }
}

/// `None` if no query completed.
fn latency(series: &[Interval], time: Scale, marks: &Marks) -> Option<Chart> {
    let is_open = series.iter().any(|it| it.response_time_ms.is_some());
    let main = |it: &Interval| if is_open { it.response_time_ms } else { it.service_time_ms };
    let service_p50 = |it: &Interval| it.service_time_ms.map(|latency| latency.p50);
    type Statistic = fn(&IntervalLatency) -> Option<f64>;
    let statistics: [(&'static str, Statistic); 4] =
        [("max", |it| Some(it.max)), ("p99", |it| it.p99), ("p95", |it| it.p95), ("p50", |it| Some(it.p50))];
    let values = series.iter().flat_map(|it| {
        let latency = main(it);
        let extra = if is_open { service_p50(it) } else { None };
        latency.into_iter().flat_map(|latency| [latency.p50, latency.max]).chain(extra)
    });
    let y = Scale::log(values)?;
    let line = |class: &str, value: &dyn Fn(&Interval) -> Option<f64>| {
        let point = |it: &Interval| {
            value(it)
                .map(|value| (time.at(it.start_ms.midpoint(it.end_ms)) * SIZE, (1.0 - y.at(value)) * SIZE))
        };
        polyline(class, series.iter().map(point))
    };
    let mut plot = marks.lines.clone();
    for (class, of) in statistics {
        plot += &line(class, &|it| main(it).as_ref().and_then(of));
    }
    if is_open {
        plot += &line("service", &service_p50);
    }
    let title = if is_open { "Response time over time" } else { "Service time over time" };
    let label_of_time = |ms| time_tick(ms, time.ends()[1]);
    let svg = Drawing {
        height_px: 240.0,
        x: x_axis(time, &label_of_time),
        is_over_time: true,
        y: Some(Axis { scale: y, ticks: y.ticks(6), label: &duration_tick }),
        plot_size: (SIZE, SIZE),
        plot,
        overlay: marks.numbers.clone(),
    };
    let is_shown = |of: &Statistic| series.iter().any(|it| main(it).as_ref().and_then(of).is_some());
    let shown = statistics.iter().rev().filter(|(_, of)| is_shown(of));
    let mut legend: Vec<Entry> = shown.map(|(name, _)| Entry { class: name, label: name }).collect();
    legend.extend(is_open.then_some(Entry { class: "service", label: "p50 of service time" }));
    let mut columns = vec!["time", "p50", "p95", "p99", "max"];
    columns.extend(is_open.then_some("p50 of service time"));
    let row = |it: &Interval| {
        let latency = main(it);
        let cell = |of: Statistic| duration_or_none(latency.as_ref().and_then(of));
        let mut row = vec![span(it)];
        row.extend(statistics.iter().rev().map(|(_, of)| cell(*of)));
        row.extend(is_open.then(|| duration_or_none(service_p50(it))));
        row
    };
    Some(Chart {
        id: "latency",
        title,
        about: "Percentiles of the queries that ended in each interval, where there were enough of them."
            .to_owned(),
        svg: svg.render(title),
        legend,
        marks: Vec::new(),
        data: Some(Data { columns, rows: series.iter().map(row).collect() }),
    })
}

/// The number of agents that had rows to run; `None` if it was the same all the time.
fn running_agents(series: &[Interval], time: Scale, marks: &Marks) -> Option<Chart> {
    const TITLE: &str = "Running agents";
    let most = series.iter().map(|it| it.agents).max()?;
    if series.iter().all(|it| it.agents == most) {
        return None;
    }
    let y = Scale::linear(0.0, most as f64 * 1.15);
    let label_of_time = |ms| time_tick(ms, time.ends()[1]);
    let svg = Drawing {
        height_px: 60.0,
        x: x_axis(time, &label_of_time),
        is_over_time: true,
        y: Some(Axis { scale: y, ticks: vec![0.0, most as f64], label: &plain }),
        plot_size: (SIZE, SIZE),
        plot: marks.lines.clone() + &steps("agents", series, &time, &y, |it| it.agents as f64),
        overlay: String::new(),
    };
    Some(Chart {
        id: "running-agents",
        title: TITLE,
        about: String::new(),
        svg: svg.render(TITLE),
        legend: Vec::new(),
        marks: Vec::new(),
        data: None,
    })
}

/// A line that is level during each interval.
fn steps(
    class: &str,
    series: &[Interval],
    time: &Scale,
    y: &Scale,
    value: impl Fn(&Interval) -> f64,
) -> String {
    let ends = series.iter().flat_map(|it| {
        let height = (1.0 - y.at(value(it))) * SIZE;
        [it.start_ms, it.end_ms].map(|ms| Some((time.at(ms) * SIZE, height)))
    });
    polyline(class, ends)
}

fn span(it: &Interval) -> String {
    format!("{}–{} s", plain(it.start_ms / 1e3), plain(it.end_ms / 1e3))
}
