//! The heat map: how many queries took how long at which time.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::timeline::time;
use crate::html::chart::{Axis, Chart, Drawing};
use crate::html::scale::{Scale, duration_tick, time_tick};
use crate::html::svg::coordinate;
use crate::result::series::Column;
use crate::result::{Distributions, RunResult};

/// Shades, from few to many queries. They are logarithmic, so that single slow queries are visible beside many fast ones.
pub(super) const SHADES: usize = 7;
/// Height of the plot in its own coordinates, fine enough for the borders of bins.
const HEIGHT: f64 = 400.0;
/// At most as many bins are distinguished; otherwise neighbours are merged.
const BINS_MAX: usize = 48;

pub(super) fn chart(result: &RunResult, distributions: &Distributions) -> Option<Chart> {
    let title = if distributions.response_time.0.is_empty() {
        "Service times as a heat map"
    } else {
        "Response times as a heat map"
    };
    let columns = &distributions.over_time;
    let time = time(&result.series)?;
    let bins = || columns.iter().flat_map(|column| &column.bins.0);
    let y = Scale::log(bins().flat_map(|(from, to, _)| [from.max(to / 2.0), *to]))?;
    let lengths = columns.iter().map(|column| column.end_ms - column.start_ms);
    let length = lengths.fold(0.0, f64::max);
    let end_ms = time.ends()[1];
    let svg = Drawing {
        height_px: 240.0,
        x: Axis { scale: time, ticks: time.ticks(6), label: &|ms| time_tick(ms, end_ms) },
        is_over_time: true,
        y: Some(Axis { scale: y, ticks: y.ticks(6), label: &duration_tick }),
        plot_size: (end_ms / length, HEIGHT),
        plot: cells(columns, length, &y),
        overlay: String::new(),
    };
    Some(Chart {
        id: "heat-map",
        title,
        about: "The darker a cell, the more queries took that long at that time; shades are logarithmic."
            .to_owned(),
        svg: svg.render(title),
        legend: Vec::new(),
        marks: Vec::new(),
        data: None,
    })
}

/// One path for each shade. Equal cells of neighbouring columns are one rectangle.
fn cells(columns: &[Column], length_ms: f64, y: &Scale) -> String {
    let rows = rows(columns);
    let densities: Vec<Vec<f64>> = columns.iter().map(|column| densities(column, &rows, length_ms)).collect();
    let densest = densities.iter().flatten().copied().fold(0.0, f64::max);
    let mut paths = vec![String::new(); SHADES];
    for (row, (from, to)) in rows.iter().enumerate() {
        let [top, bottom] = [to, from].map(|ms| ((1.0 - y.at(*ms)) * HEIGHT).round());
        let shades: Vec<Option<usize>> = densities.iter().map(|column| shade(column[row], densest)).collect();
        let mut at = 0;
        for run in shades.chunk_by(|a, b| a == b) {
            if let Some(shade) = run[0] {
                let from = columns[at].start_ms / length_ms;
                let to = columns[at + run.len() - 1].end_ms / length_ms;
                let (x, width, height) = (coordinate(from), coordinate(to - from), (bottom - top).max(1.0));
                let _ = write!(paths[shade], "M{x} {top}h{width}v{height}h-{width}z");
            }
            at += run.len();
        }
    }
    let paths = paths.iter().enumerate().filter(|(_, path)| !path.is_empty());
    paths.map(|(shade, path)| format!("<path class=\"heat heat-{shade}\" d=\"{path}\"/>")).collect()
}

/// The rows of the map, as times in milliseconds from and to: the bins of all columns, or groups of neighbours if there are too many.
fn rows(columns: &[Column]) -> Vec<(f64, f64)> {
    let bins = columns.iter().flat_map(|column| &column.bins.0);
    // Positive numbers have the order of their bits.
    let bins: BTreeMap<u64, (f64, f64)> = bins.map(|(from, to, _)| (from.to_bits(), (*from, *to))).collect();
    let merged = bins.len().div_ceil(BINS_MAX).max(1);
    let bins: Vec<(f64, f64)> = bins.into_values().collect();
    // A gap between bins stays a gap.
    let connected = bins.chunk_by(|(_, end), (next, _)| end == next);
    connected
        .flat_map(|bins| bins.chunks(merged))
        .map(|group| (group[0].0, group[group.len() - 1].1))
        .collect()
}

/// Queries in each row, for each length of a column and each unit of logarithmic time.
fn densities(column: &Column, rows: &[(f64, f64)], length_ms: f64) -> Vec<f64> {
    let mut densities = vec![0.0; rows.len()];
    let share = ((column.end_ms - column.start_ms) / length_ms).max(f64::MIN_POSITIVE);
    for (from, _, count) in &column.bins.0 {
        let row = rows.partition_point(|(start, _)| start <= from).saturating_sub(1);
        let (start, end) = rows[row];
        densities[row] += *count as f64 / (end / start.max(end / 2.0)).ln() / share;
    }
    densities
}

/// The shade of a density; `None` for an empty cell.
pub(super) fn shade(density: f64, densest: f64) -> Option<usize> {
    /// Densities below this part of the greatest have the lightest shade.
    const LIGHTEST: f64 = 1e-3;
    if density <= 0.0 {
        return None;
    }
    let part = 1.0 - (density / densest).max(LIGHTEST).ln() / LIGHTEST.ln();
    // Between 0 and SHADES, so the cast is exact.
    Some(((part * SHADES as f64) as usize).min(SHADES - 1))
}
