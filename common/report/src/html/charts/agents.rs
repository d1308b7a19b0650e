//! Agents side by side: the distribution of service times of each.

use std::fmt::Write;

use muster_core::printable::harmless;

use super::heat_map::{SHADES, shade};
use crate::html::chart::{Axis, Chart, Data, Drawing};
use crate::html::scale::{Scale, duration_tick};
use crate::html::svg::{coordinate, label};
use crate::result::series::AgentDistribution;
use crate::result::{Agent, Distributions, Latency, RunResult};
use crate::units::{count, duration};

const TITLE: &str = "Agents side by side";
/// More agents make a page long; those with the longest medians are shown.
const AGENTS_MAX: usize = 24;
const ROW_PX: f64 = 40.0;
/// Height of a row in the plot's coordinates: the upper part is for the label.
const ROW: f64 = 40.0;
const STRIP: std::ops::Range<f64> = 17.0..33.0;
const WIDTH: f64 = 1_000.0;

struct Row<'a> {
    agent: &'a Agent,
    latency: &'a Latency,
    distribution: &'a AgentDistribution,
}

pub(super) fn chart(result: &RunResult, distributions: &Distributions) -> Option<Chart> {
    let mut rows: Vec<Row<'_>> = result
        .agents
        .iter()
        .filter_map(|agent| {
            let distribution = distributions.agents.iter().find(|of| of.slot == agent.slot)?;
            Some(Row { agent, latency: agent.service_time_ms.as_ref()?, distribution })
        })
        .collect();
    if rows.len() < 2 {
        return None;
    }
    let all = rows.len();
    if all > AGENTS_MAX {
        rows.sort_by(|a, b| b.latency.median.total_cmp(&a.latency.median));
        rows.truncate(AGENTS_MAX);
    }
    let x = Scale::log(rows.iter().flat_map(|row| [row.latency.min, row.latency.max]))?;
    let height = ROW * rows.len() as f64;
    let plot = rows.iter().enumerate().map(|(at, row)| strip(row, ROW * at as f64, &x)).collect();
    let labels = rows.iter().enumerate().map(|(at, row)| {
        let lost = if row.agent.lost.is_some() { " · lost" } else { "" };
        let text = format!("{} · {}{lost}", row.agent.slot, harmless(&row.agent.name));
        label("row-label", 0.0, ROW_PX * at as f64 + 11.0, &text)
    });
    let svg = Drawing {
        height_px: ROW_PX * rows.len() as f64,
        x: Axis { scale: x, ticks: x.ticks(6), label: &duration_tick },
        is_over_time: false,
        y: None,
        plot_size: (WIDTH, height),
        plot,
        overlay: labels.collect(),
    };
    let shown = if all > AGENTS_MAX {
        format!(" The {AGENTS_MAX} longest medians of {} agents.", count(all as u64))
    } else {
        String::new()
    };
    let row = |row: &Row<'_>| {
        let Latency { min, median, max, .. } = row.latency;
        let times = [min, median, max].map(|ms| duration(*ms));
        [row.agent.slot.clone(), harmless(&row.agent.name), count(row.latency.count)]
            .into_iter()
            .chain(times)
            .collect()
    };
    Some(Chart {
        id: "agents",
        title: TITLE,
        about: format!(
            "Service times of each agent: the darker, the more queries. The line is the median.{shown}"
        ),
        svg: svg.render(TITLE),
        legend: Vec::new(),
        marks: Vec::new(),
        data: Some(Data {
            columns: vec!["slot", "name", "queries", "min", "median", "max"],
            rows: rows.iter().map(row).collect(),
        }),
    })
}

/// The bins of one agent as shaded rectangles, with its median.
fn strip(row: &Row<'_>, top: f64, x: &Scale) -> String {
    let bins = &row.distribution.service_time.0;
    let densities: Vec<f64> =
        bins.iter().map(|(from, to, count)| *count as f64 / (to / from.max(to / 2.0)).ln()).collect();
    let densest = densities.iter().copied().fold(0.0, f64::max);
    let mut paths = vec![String::new(); SHADES];
    for ((from, to, _), density) in bins.iter().zip(densities) {
        let Some(shade) = shade(density, densest) else { continue };
        let [from, to] = [*from, *to].map(|ms| (x.at(ms) * WIDTH).round());
        let (y, width, height) = (top + STRIP.start, (to - from).max(1.0), STRIP.end - STRIP.start);
        let _ = write!(paths[shade], "M{from} {y}h{width}v{height}h-{width}z");
    }
    let paths = paths.iter().enumerate().filter(|(_, path)| !path.is_empty());
    let strip: String =
        paths.map(|(shade, path)| format!("<path class=\"heat heat-{shade}\" d=\"{path}\"/>")).collect();
    let median = coordinate(x.at(row.latency.median) * WIDTH);
    let [from, to] = [STRIP.start - 2.0, STRIP.end + 2.0].map(|y| coordinate(top + y));
    format!("{strip}<path class=\"line median\" d=\"M{median} {from}V{to}\"/>")
}
