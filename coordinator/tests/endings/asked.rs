//! Runs that a person ends: Ctrl-C (SIGINT) and SIGTERM, in every phase.

use tokio::time::{Duration, Instant};

use crate::fixture::{Running, expect_partial};
use crate::support::database::Database;
use crate::support::files::{Files, words};
use crate::support::processes::{Process, address, agent, run};
use crate::support::report::Report;

/// "At once" on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn while_agents_are_missing_there_is_no_report_and_the_agent_that_joined_waits_on() {
    let Some(database) = Database::empty("asked_joining").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    for signal in ["INT", "TERM"] {
        let address = address();
        let own = ["--database-url", database.url()];
        let mut coordinator = Process::start(run(address, 2, &[&words(&sleeps)[..], &own].concat()));
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
async fn while_agents_prepare_there_is_no_report_and_they_wait_on() {
    let Some(database) = Database::empty("asked_preparing").await else { return };
    database.execute("CREATE TABLE cpu_usage (ts TIMESTAMPTZ, host TEXT, usage DOUBLE PRECISION)").await;
    let locker = database.session().await;
    for signal in ["INT", "TERM"] {
        // Preparing needs to read the table's definition, and waits for this lock.
        locker.batch_execute("BEGIN; LOCK TABLE cpu_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let address = address();
        let mut coordinator = Process::start(run(address, 1, &["--database-url", database.url()]));
        let mut agent = Process::start(agent(address, &[]));
        database.wait_for(1, &database.workers("wait_event_type = 'Lock'")).await;
        let asked = Instant::now();
        coordinator.signal(signal);
        assert_eq!(coordinator.end().await.expect(130).stdout, "");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        agent.wait_for("run ended: the run did not start").await;
        // The server notices that a client hung up when what it waited for is there.
        locker.batch_execute("ROLLBACK").await.unwrap();
        database.wait_for_silence().await;
    }
}

#[tokio::test]
async fn while_rows_run_the_report_is_partial_and_queries_in_flight_are_counted() {
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
        running.database.wait_for_silence().await;
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
async fn a_second_ctrl_c_leaves_at_once_and_the_agents_cancel_what_runs() {
    let Some(mut running) = Running::start("asked_twice", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("INT");
    running.coordinator.wait_for("the run was interrupted").await;
    assert!(running.coordinator.is_running(), "the first one waits for the queries");
    let asked = Instant::now();
    running.coordinator.signal("INT");
    let ended = running.coordinator.end().await.expect(130);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert_eq!(ended.stdout, "");
    running.database.wait_for_silence().await;
    for agent in &mut running.agents {
        agent.wait_for("waiting for a coordinator").await;
    }
}

#[tokio::test]
async fn a_query_that_outlasts_the_drain_is_cancelled_and_its_row_is_unaccounted() {
    let Some(database) = Database::empty("asked_patiently").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 600.0);
    let address = address();
    let mut coordinator =
        Process::start(run(address, 1, &[&words(&sleeps)[..], &["--database-url", database.url()]].concat()));
    let mut agent = Process::start(agent(address, &[]));
    database.wait_for_running(1).await;
    coordinator.signal("TERM");
    coordinator.wait_for("queries in flight are cancelled").await;
    let report = Report::of(&coordinator.end().await.expect(130));
    assert_eq!(report.books(), (0, 0, 1), "the server did not fail it, the end of the run did");
    agent.wait_for("run ended: the run was interrupted").await;
    database.wait_for_silence().await;
}
