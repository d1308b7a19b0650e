//! `docs/reference/metrics.md`, from what both programs export.

use std::collections::BTreeMap;

use muster_agent::metrics::AgentMetrics;
use muster_net::metrics::written;
use nom_openmetrics::parser::openmetrics;
use nom_openmetrics::{Family, MetricDescriptor};

use super::page::{check, code, escape, table};
use crate::run::Metrics;

const INTRODUCTION: &str = "\
`--metrics ADDRESS` makes either program serve these metrics at `http://ADDRESS/metrics`, in the format of OpenMetrics. Every series exists
from the first scrape on. Times are in seconds. [Many machines](../guide/many-machines.md#metrics-and-dashboards) describes the alerts and
the dashboard.";

#[test]
fn the_page_of_metrics_matches_the_programs() {
    let (coordinator, agent) = (written(Metrics::enabled()), written(AgentMetrics::of(1)));
    let (coordinator, agent) = (metrics(&coordinator), metrics(&agent));
    let both: Vec<_> = coordinator.iter().filter(|row| agent.contains(row)).cloned().collect();
    let only =
        |rows: Vec<[String; 4]>| -> Vec<_> { rows.into_iter().filter(|row| !both.contains(row)).collect() };
    let sections = [
        (
            "Coordinator",
            "Values of its run. The coordinator exists only while the run goes on.",
            only(coordinator.clone()),
        ),
        ("Agent", "Values since the start of the process, over all runs.", only(agent)),
        ("Both programs", "Of the process. On macOS some are missing.", both.clone()),
    ];
    let sections = sections.map(|(heading, text, rows)| {
        format!("## {heading}\n\n{text}\n\n{}", table(["metric", "type", "labels", "meaning"], &rows))
    });
    check("metrics.md", "Metrics", &format!("{INTRODUCTION}\n\n{}\n{}", sections.join("\n"), buckets()));
}

/// One row for each metric: name, type, labels with their values, meaning.
fn metrics(text: &str) -> Vec<[String; 4]> {
    let (rest, families) = openmetrics(text).unwrap();
    assert_eq!(rest, "");
    families.iter().map(metric).collect()
}

fn metric(family: &Family<'_>) -> [String; 4] {
    let (mut name, mut kind, mut help) = (String::new(), String::new(), String::new());
    for descriptor in &family.descriptors {
        match descriptor {
            MetricDescriptor::Type { metric, r#type } => {
                (name, kind) = ((*metric).to_owned(), r#type.to_string().to_lowercase())
            }
            MetricDescriptor::Help { help: text, .. } => help = text.to_string(),
            MetricDescriptor::Unit { .. } => {}
        }
    }
    // The version differs between releases, and the bounds of buckets are listed once.
    let mut labels: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for label in family.samples.iter().flat_map(|sample| sample.labels()).filter(|label| label.name != "le") {
        let values = labels.entry(label.name).or_default();
        values.extend(Some(code(&label.value)).filter(|_| label.name != "version"));
    }
    let labels = labels.into_iter().map(|(label, values)| match values.is_empty() {
        true => code(label),
        false => format!("{}: {}", code(label), values.join(", ")),
    });
    let suffix = if kind == "counter" { "_total" } else { "" };
    [code(&(name + suffix)), kind, labels.collect::<Vec<_>>().join("<br>"), escape(&help)]
}

fn buckets() -> String {
    let bounds = muster_stats::buckets::BOUNDS_NS.map(|bound| (bound as f64 / 1e9).to_string());
    format!("The buckets of a histogram end at {} seconds and `+Inf` (label `le`).", bounds.join(", "))
}
