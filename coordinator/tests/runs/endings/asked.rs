//! Runs that the user ends with Ctrl-C (SIGINT) or SIGTERM, in every phase.

use tokio::time::{Duration, Instant};

use crate::endings::fixture::{Running, expect_partial};
use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, run};
use muster_testing::report::Report;

/// The limit for an immediate exit on a machine that is busy with other tests.
const IMMEDIATELY: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_interrupt_before_all_agents_have_joined_prints_no_report_and_agents_keep_waiting() {
    let Some(database) = Database::empty("asked_joining").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    for signal in ["INT", "TERM"] {
        let address = address();
        let own = ["--database-url", database.url()];
        let mut coordinator = Process::start(run(address, 2, &[&args(&sleeps)[..], &own].concat()));
        let mut agent = Process::start(agent(address, &[]));
        coordinator.wait_for("slot-0 joined").await;
        coordinator.signal(signal);
        let ended = coordinator.end().await.expect(130);
        assert_eq!(ended.stdout, "", "{signal}");
        agent.wait_for("run ended: the run did not start").await;
        agent.wait_for("waiting for a coordinator").await;
        agent.signal(signal);
        agent.end().await.expect(0);
    }
}

#[tokio::test]
async fn an_interrupt_while_agents_prepare_prints_no_report_and_agents_keep_waiting() {
    let Some(database) = Database::empty("asked_preparing").await else { return };
    database.execute("CREATE TABLE cpu_usage (ts TIMESTAMPTZ, host TEXT, usage DOUBLE PRECISION)").await;
    let locker = database.session().await;
    for signal in ["INT", "TERM"] {
        // Preparing reads the table's definition and waits for this lock.
        locker.batch_execute("BEGIN; LOCK TABLE cpu_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let address = address();
        let mut coordinator = Process::start(run(address, 1, &["--database-url", database.url()]));
        let mut agent = Process::start(agent(address, &[]));
        database.wait_for(1, &database.workers("wait_event_type = 'Lock'")).await;
        let signalled = Instant::now();
        coordinator.signal(signal);
        assert_eq!(coordinator.end().await.expect(130).stdout, "");
        assert!(signalled.elapsed() < IMMEDIATELY, "{:?}", signalled.elapsed());
        agent.wait_for("run ended: the run did not start").await;
        // The server notices that the client has disconnected only once it gets the lock.
        locker.batch_execute("ROLLBACK").await.unwrap();
        database.wait_for_no_workers().await;
    }
}

#[tokio::test]
async fn an_interrupt_while_rows_run_prints_a_partial_report_with_the_queries_in_flight() {
    for (signal, name) in [("INT", "asked_int"), ("TERM", "asked_term")] {
        let Some(mut running) = Running::start(name, 2, 0.1, &[]).await else { return };
        running
            .database
            .wait_for(2, &running.database.workers("query_start > backend_start + '0.5 s'"))
            .await;
        running.coordinator.signal(signal);
        let report = Report::of(&running.coordinator.end().await.expect(130));
        expect_partial(&report, "interrupted");
        assert!(report.events().contains("the run was interrupted"), "{}", report.events());
        running.database.wait_for_no_workers().await;
        for agent in &mut running.agents {
            agent.wait_for("run ended: the run was interrupted").await;
            agent.signal(signal);
        }
        for mut agent in running.agents {
            agent.end().await.expect(0);
        }
    }
}

#[tokio::test]
async fn a_second_interrupt_exits_immediately_and_agents_cancel_their_queries() {
    let Some(mut running) = Running::start("asked_twice", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("INT");
    running.coordinator.wait_for("the run was interrupted").await;
    assert!(running.coordinator.is_running(), "the first signal waits for the queries");
    let signalled = Instant::now();
    running.coordinator.signal("INT");
    let ended = running.coordinator.end().await.expect(130);
    assert!(signalled.elapsed() < IMMEDIATELY, "{:?}", signalled.elapsed());
    assert_eq!(ended.stdout, "");
    running.database.wait_for_no_workers().await;
    for agent in &mut running.agents {
        agent.wait_for("waiting for a coordinator").await;
    }
}

#[tokio::test]
async fn a_query_that_outlasts_the_drain_is_cancelled_and_its_row_is_unaccounted() {
    let Some(database) = Database::empty("asked_drain").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 600.0);
    let address = address();
    let mut coordinator =
        Process::start(run(address, 1, &[&args(&sleeps)[..], &["--database-url", database.url()]].concat()));
    let mut agent = Process::start(agent(address, &[]));
    database.wait_for_running(1).await;
    coordinator.signal("TERM");
    coordinator.wait_for("queries in flight are cancelled").await;
    let report = Report::of(&coordinator.end().await.expect(130));
    assert_eq!(report.accounting(), (0, 0, 1), "the end of the run cancelled it, so it is not a failure");
    agent.wait_for("run ended: the run was interrupted").await;
    database.wait_for_no_workers().await;
}
