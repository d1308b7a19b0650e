//! A coordinator's metrics of a whole run, up to its last row.

use std::fmt::Write;
use std::io::Read;

use crate::metrics::scrape::scrape_until;
use muster_testing::fake_postgres::{FakePostgres, QUERY};
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, coordinator};
use muster_testing::report::Report;

/// Enough hosts that the report is longer than a pipe's buffer.
const HOSTS: usize = 1_000;
const FAILED: usize = 10;

#[tokio::test]
async fn the_last_scrape_has_the_numbers_of_the_report() {
    let (fake, files, metrics) = (FakePostgres::start(), Files::new(), address());
    let mut csv = "hostname,script\n".to_owned();
    for host in 0..HOSTS {
        let script = if host < FAILED { "error P0001 as asked" } else { "200us" };
        writeln!(csv, "h{host},{script}\nh{host},").unwrap();
    }
    let (rows, query) = (files.write("rows.csv", csv), files.write("q.sql", QUERY));
    let head = ["run", "--local", "--agents", "2", "--workers", "2", "--warmup", "20", "--output", "json"];
    let mine = ["--database-url", &fake.url(), "--query", &query, "--metrics", &metrics.to_string(), &rows];
    let mut command = coordinator(&[&head[..], &mine].concat());
    // The report is not read until the last page has been scraped, so that the process cannot exit before.
    let (mut report, stdout) = std::io::pipe().unwrap();
    command.stdout(stdout);
    let mut coordinator = Process::start(command);
    coordinator.wait_for(&format!("metrics at http://{metrics}/metrics")).await;
    let page = scrape_until(metrics, "the run is over", |page| page.phase() == Some("over")).await;
    let failed = FAILED as f64;
    let completed = 2.0 * HOSTS as f64 - failed;
    assert_eq!(page.queries("muster_queries_total"), (completed, failed), "the warm-up is not counted");
    assert_eq!(page.histogram("muster_service_time_seconds"), completed);
    assert_eq!(page.value("muster_rows", &[]), 2.0 * HOSTS as f64);
    assert_eq!(page.agents(), (2.0, 0.0, 0.0));
    assert_eq!(page.value("muster_agents_lost_total", &[]), 0.0);
    assert_eq!(page.value("muster_rows_retried_total", &[]), 0.0);

    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        report.read_to_string(&mut text).map(|_| text)
    });
    let report = Report::read(&text.await.unwrap().unwrap());
    assert_eq!(report.accounting(), (completed as u64, FAILED as u64, 0));
    let mean_ms = report.at("/service_time_ms/mean").as_f64().unwrap();
    let sum_ms = page.value("muster_service_time_seconds_sum", &[]) * 1e3;
    assert!((sum_ms / completed - mean_ms).abs() < 1e-6, "{} and {mean_ms}", sum_ms / completed);
    coordinator.end().await.expect(14);
}
