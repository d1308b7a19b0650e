//! The changes of a comparison with their confidence intervals.

use crate::html::chart::{Axis, Chart, Data, Drawing};
use crate::html::scale::Scale;
use crate::html::svg::{coordinate, label, rectangle, vertical};
use crate::result::comparison::{Comparison, Finding};
use crate::units::{count, percent, percent_range};

const TITLE: &str = "Changes with their intervals";
const ROW: f64 = 36.0;
/// Height of the interval within its row; the label is above it.
const LINE: f64 = 24.0;
const WIDTH: f64 = 1_000.0;

struct Row {
    label: String,
    change: f64,
    interval: [f64; 2],
    finding: Finding,
}

/// `None` if no change has an interval.
pub(super) fn chart(comparison: &Comparison) -> Option<Chart> {
    let rows = rows(comparison);
    let ends = rows.iter().flat_map(|row| row.interval).chain([0.0, comparison.margin, -comparison.margin]);
    let (from, to) = ends.fold((0.0_f64, 0.0_f64), |(from, to), end| (from.min(end), to.max(end)));
    if rows.is_empty() {
        return None;
    }
    let space = (to - from) * 0.05;
    let x = Scale::linear(from - space, to + space);
    let height = ROW * rows.len() as f64;
    let at = |change: f64| x.at(change) * WIDTH;
    let mut plot = rectangle("margin", (at(-comparison.margin), 0.0), (at(comparison.margin), height));
    plot += &vertical("zero", at(0.0));
    let mut labels = String::new();
    for (index, row) in rows.iter().enumerate() {
        let top = ROW * index as f64;
        let class = match row.finding {
            Finding::Slower => "slower",
            Finding::Faster => "faster",
            Finding::Mixed | Finding::Negligible | Finding::Noise | Finding::Unsupported => "same",
        };
        let [low, high] = row.interval.map(|end| coordinate(at(end)));
        let (middle, y) = (coordinate(at(row.change)), coordinate(top + LINE));
        plot += &format!("<path class=\"line interval {class}\" d=\"M{low} {y}H{high}\"/>");
        plot += &format!("<path class=\"line point {class}\" d=\"M{middle} {y}h0\"/>");
        labels +=
            &label("row-label", 0.0, top + 12.0, &format!("{}: {}", row.label, percent(Some(row.change))));
    }
    let svg = Drawing {
        height_px: height,
        x: Axis { scale: x, ticks: x.ticks(6), label: &|change| percent(Some(change)) },
        is_over_time: false,
        y: None,
        plot_size: (WIDTH, height),
        plot,
        overlay: labels,
    };
    Some(Chart {
        id: "changes",
        title: TITLE,
        about: "New against base; to the right is slower. In the grey area a change is below the margin."
            .to_owned(),
        svg: svg.render(TITLE),
        legend: Vec::new(),
        marks: Vec::new(),
        data: None,
    })
}

/// The distribution of the changes of paired rows; `None` unless rows are paired.
pub(super) fn changes(comparison: &Comparison) -> Option<Chart> {
    const TITLE: &str = "Changes of the rows";
    const HEIGHT: f64 = 1_000.0;
    let bins = &comparison.row_by_row.as_ref()?.changes.0;
    let (first, last) = (bins.first()?, bins.last()?);
    let x = Scale::linear(first.0.min(0.0), last.1.max(0.0));
    let most = bins.iter().map(|(_, _, count)| *count).max()?;
    let at = |change: f64| x.at(change) * WIDTH;
    let bars = bins.iter().map(|(from, to, count)| {
        let class = if from.midpoint(*to) > 0.0 { "bar slower" } else { "bar faster" };
        rectangle(class, (at(*from), (1.0 - *count as f64 / most as f64) * HEIGHT), (at(*to), HEIGHT))
    });
    let svg = Drawing {
        height_px: 130.0,
        x: Axis { scale: x, ticks: x.ticks(6), label: &|change| percent(Some(change)) },
        is_over_time: false,
        y: None,
        plot_size: (WIDTH, HEIGHT),
        plot: bars.collect::<String>() + &vertical("zero", at(0.0)),
        overlay: String::new(),
    };
    let row = |(from, to, rows): &(f64, f64, u64)| vec![percent_range([*from, *to]), count(*rows)];
    Some(Chart {
        id: "row-changes",
        title: TITLE,
        about: "How much the service time of each row changed, new ÷ base; to the right is slower. Both ends contain all rows beyond them."
            .to_owned(),
        svg: svg.render(TITLE),
        legend: Vec::new(),
        marks: Vec::new(),
        data: Some(Data { columns: vec!["change", "rows"], rows: bins.iter().map(row).collect() }),
    })
}

fn rows(comparison: &Comparison) -> Vec<Row> {
    let tables = [
        ("service time", Some(&comparison.service_time)),
        ("response time", comparison.response_time.as_ref()),
    ];
    let figures = tables.into_iter().flat_map(|(kind, table)| {
        table.into_iter().flat_map(move |table| table.figures.iter().map(move |figure| (kind, figure)))
    });
    let mut rows: Vec<Row> = figures
        .filter_map(|(kind, figure)| {
            let label = format!("{} {kind}", figure.name);
            Some(Row { label, change: figure.change?, interval: figure.change_ci?, finding: figure.finding })
        })
        .collect();
    rows.extend(comparison.row_by_row.as_ref().and_then(|rows| {
        let label = "row by row, geometric mean".to_owned();
        Some(Row { label, change: rows.change, interval: rows.change_ci?, finding: rows.finding })
    }));
    rows
}
