//! Connections that break while rows run: on a server that restarts, and on one that keeps running.

use std::time::Duration;

use tokio::time::sleep;

use crate::identity::server::{Job, Server, causes, reasons};
use muster_testing::processes::{Process, complete, coordinator};
use muster_testing::report::Report;

const OUTAGE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_restart_is_an_event_with_its_outage_and_degrades_the_run() {
    let Some(server) = Server::start().await else { return };
    let job = Job::new("SELECT pg_sleep(0.01), :hostname", 400);
    let workers = ["--workers", "4"];
    let mut run = Process::start(coordinator(&job.local(server.url(), &workers)));
    run.wait_for("armed").await;
    sleep(OUTAGE / 2).await;
    server.stop();
    sleep(OUTAGE).await;
    server.start_again();
    let report = job.report(&run.end().await.expect(14)).await;
    assert_eq!(causes(&report), ["server_restarted", "reconnected"], "{}", reasons(&report));
    assert_eq!(report.text("/verdict/status"), "DEGRADED");
    // A worker that has no rows left does not notice that its connection broke.
    let had_rows = |worker: &&serde_json::Value| worker["completed"].as_u64() > Some(0);
    let workers = report.list("/workers").iter().filter(had_rows).count();
    assert_eq!(report.number("/database/reconnects/count"), workers as u64, "each worker once");
    let outage_ms = report.at("/database/reconnects/outage_max_ms").as_f64().unwrap();
    assert!(outage_ms >= 900.0, "{outage_ms} ms");
    let (first, second) = (report.at("/database/identity"), report.at("/database/other_identities/0"));
    assert_eq!(first["system_identifier"], second["system_identifier"]);
    assert!(first["started_at"].as_str() < second["started_at"].as_str(), "{first} and {second}");
    let events = report.events();
    assert_eq!(events.matches("was restarted").count(), 1, "{events}");
    let event = format!("{workers} broken connections to the database were opened again");
    assert_eq!(events.matches(&event).count(), 1, "{events}");
    let text = job.again(&report, "text").await;
    assert!(text.contains(&format!("{workers} broken connections reopened")), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_restart_degrades_the_run() {
    let Some(server) = Server::start().await else { return };
    let job = Job::new("SELECT pg_sleep(0.01), :hostname", 100_000);
    let mut run = Process::start(coordinator(&job.local(server.url(), &["--duration", "1500ms"])));
    run.wait_for("armed").await;
    sleep(OUTAGE / 2).await;
    server.stop();
    let report = job.report(&run.end().await.expect(14)).await;
    assert_eq!(causes(&report), ["disconnected"], "{}", reasons(&report));
    assert_eq!(report.number("/database/reconnects/disconnected"), 1);
}

#[tokio::test]
async fn time_spent_reconnecting_is_not_generator_delay() {
    let Some(server) = Server::start().await else { return };
    if server.text("SHOW server_version_num").await.as_str() < "140000" {
        println!("skipped: idle_session_timeout comes with PostgreSQL 14");
        return;
    }
    server.execute("ALTER DATABASE postgres SET idle_session_timeout = '50ms'").await;
    let job = Job::new("SELECT :hostname", 8);
    let report =
        job.report(&complete(coordinator(&job.local(server.url(), &["--rate", "4"]))).await.expect(0)).await;
    assert_eq!(causes(&report), ["reconnected"], "{}", reasons(&report));
    assert_eq!(report.accounting(), (8, 0, 0));
    assert!(report.number("/database/reconnects/count") >= 6, "{}", report.at("/database"));
    let events = report.list("/events").len();
    assert!(events < 8, "repeated reconnects are combined into few events: {}", report.events());
}

#[tokio::test]
async fn a_connection_that_the_worker_closed_after_a_timeout_is_not_reported_as_broken() {
    let Some(server) = Server::start().await else { return };
    let job = Job::new("SELECT pg_sleep(CASE WHEN :n::int = 1 THEN 30 ELSE 0 END)", 8);
    let ended = complete(coordinator(&job.local(server.url(), &["--timeout", "200ms"]))).await;
    let report = job.report(&ended.expect(14)).await;
    assert_eq!(report.accounting(), (7, 1, 0));
    assert!(causes(&report).is_empty(), "{}", reasons(&report));
    assert_eq!(report.number("/database/reconnects/count"), 0);
}

#[tokio::test]
async fn a_run_in_which_every_query_fails_is_degraded() {
    let Some(server) = Server::start().await else { return };
    let job = Job::new("SELECT 1 / (:n::int - :n::int)", 8);
    let ended = complete(coordinator(&job.local(server.url(), &[]))).await.expect(14);
    let report: Report = job.report(&ended).await;
    assert_eq!(causes(&report), ["all_failed"], "{}", reasons(&report));
    assert!(reasons(&report).starts_with("no query completed, and 8 queries failed"), "{}", reasons(&report));
}
