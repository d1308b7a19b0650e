//! Before the first row, both programs export exactly the series that `deploy/metrics.txt` lists.

use std::collections::BTreeSet;

use crate::metrics::scrape::{scrape, scrape_until};
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, run};

const CONTRACT: &str = include_str!("../../../../deploy/metrics.txt");

/// Returns the lines for both programs and those under this heading, with labels and values sorted.
fn contract(heading: &str) -> BTreeSet<String> {
    let mut is_wanted = false;
    let mut listed = BTreeSet::new();
    for line in CONTRACT.lines() {
        match line.strip_prefix("# ") {
            Some(title) => is_wanted = title.starts_with("Both") || title.starts_with(heading),
            None if is_wanted && !line.is_empty() => drop(listed.insert(in_order(line))),
            None => {}
        }
    }
    assert!(listed.len() > 3, "{listed:?}");
    listed
}

fn in_order(line: &str) -> String {
    let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    for field in &mut fields[2..] {
        if let Some((label, values)) = field.split_once('=') {
            let values: BTreeSet<&str> = values.split('|').collect();
            *field = format!("{label}={}", values.into_iter().collect::<Vec<_>>().join("|"));
        }
    }
    fields[2..].sort_unstable();
    fields.join(" ")
}

#[tokio::test]
async fn a_waiting_coordinator_exports_the_series_of_the_contract() {
    let (files, metrics) = (Files::new(), address());
    let sleeps = files.sleeps(7, 0.0);
    let more = ["--repeat", "3", "--metrics", &metrics.to_string()];
    let mut coordinator = Process::start(run(address(), 2, &[&args(&sleeps)[..], &more].concat()));
    coordinator.wait_for(&format!("metrics at http://{metrics}/metrics")).await;
    let page = scrape_until(metrics, "it waits", |page| page.phase() == Some("gathering")).await;
    assert_eq!(page.listed(), contract("Coordinator"));
    assert_eq!(page.value("muster_rows", &[]), 21.0, "7 rows, three times");
    assert_eq!(page.agents(), (2.0, 0.0, 0.0));
    assert_eq!(page.queries("muster_queries_total"), (0.0, 0.0));
    assert_eq!(page.histogram("muster_service_time_seconds"), 0.0);
    assert_eq!(page.value("muster_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(page.value("process_cpu_seconds_total", &[]) > 0.0);
    assert!(page.value("process_resident_memory_bytes", &[]) > 1e6);
}

#[tokio::test]
async fn an_agent_without_a_coordinator_exports_the_series_of_the_contract() {
    let metrics = address();
    // Set by the environment variable, as in a unit file or a pod.
    let mut command = agent(address(), &["--workers", "3"]);
    command.env("MUSTER_METRICS", metrics.to_string());
    let mut agent = Process::start(command);
    agent.wait_for(&format!("metrics at http://{metrics}/metrics")).await;
    let page = scrape(metrics).await;
    assert_eq!(page.listed(), contract("Agent"));
    assert_eq!(page.value("muster_agent_workers", &[]), 3.0);
    assert_eq!(page.value("muster_agent_connected", &[]), 0.0);
    assert_eq!(page.queries("muster_agent_queries_total"), (0.0, 0.0));
}
