//! Agents and coordinators that start in any order, several runs in sequence, and the source of an agent's database URL.

use std::time::{Duration, Instant};

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, complete, coordinator, run};
use muster_testing::report::Report;

#[tokio::test]
async fn agents_started_first_serve_several_runs_in_sequence() {
    let Some(database) = Database::empty("agents_first").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(40, 0.001);
    let address = address();
    let mut agents = [(); 2].map(|()| Process::start(agent(address, &[])));
    for agent in &mut agents {
        agent.wait_for("waiting for a coordinator").await;
    }
    for time in 1..=2 {
        let ended =
            complete(run(address, 2, &[&args(&sleeps)[..], &["--database-url", database.url()]].concat()))
                .await;
        assert_eq!(Report::of(&ended.expect(0)).accounting(), (40, 0, 0));
        for agent in &mut agents {
            agent.wait_for_times(time, "run ended: every row was run").await;
        }
    }
    database.wait_for_no_workers().await;
    for mut agent in agents {
        agent.signal("TERM");
        agent.end().await.expect(0);
    }
}

#[tokio::test]
async fn an_agent_with_several_coordinators_serves_the_one_that_answers() {
    let Some(database) = Database::empty("several_coordinators").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(40, 0.001);
    let (one, other) = (address(), address());
    let mut agent = Process::start(agent(format!("{one},{other}"), &[]));
    agent.wait_for("waiting for a coordinator").await;
    for (time, address) in [(1, other), (2, one)] {
        let args = [&args(&sleeps)[..], &["--database-url", database.url()]].concat();
        assert_eq!(Report::of(&complete(run(address, 1, &args)).await.expect(0)).accounting(), (40, 0, 0));
        agent.wait_for_times(time, "run ended: every row was run").await;
    }
    agent.signal("TERM");
    agent.end().await.expect(0);
}

#[tokio::test]
async fn an_agent_with_once_exits_after_its_run_and_prefers_its_own_database() {
    let Some(own) = Database::empty("of_the_agent").await else { return };
    let Some(other) = Database::empty("of_the_coordinator").await else { return };
    own.execute("CREATE TABLE place AS SELECT 'agent' AS name").await;
    other.execute("CREATE TABLE place AS SELECT 'coordinator' AS name, 1 AS more").await;
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\nb\n");
    let query = files.write("place.sql", "SELECT * FROM place WHERE :hostname::text <> ''");
    let digests = async |agent_args: &[&str], coordinator_args: &[&str]| {
        let address = address();
        let head = [rows.as_str(), "--query", &query];
        let mut coordinator = Process::start(run(address, 1, &[&head, coordinator_args].concat()));
        let mut agent = Process::start(agent(address, &[&["--once"], agent_args].concat()));
        let report = Report::of(&coordinator.end().await.expect(0));
        agent.end().await.expect(0);
        report.number("/result/bytes")
    };
    let [own, other] = [["--database-url", own.url()], ["--database-url", other.url()]];
    assert_eq!(digests(&own, &other).await, 2 * 5, "the agent's own database has priority");
    assert_eq!(digests(&own, &[]).await, 2 * 5, "the coordinator needs no database");
    assert_eq!(
        digests(&[], &other).await,
        2 * (11 + 4),
        "the coordinator hands its database over on this machine"
    );
}

#[tokio::test]
async fn environment_variables_configure_the_database_like_a_url() {
    let Some(database) = Database::empty("by_variables").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("name.sql", "SELECT 1 / (current_database() = :hostname)::int");
    let named = files.write("named.csv", format!("hostname\n{}\n", database.name()));
    let check = async |rows: &str, code| {
        let mut command = coordinator(&["run", "--local", "--output", "json", rows, "--query", &query]);
        command.envs([("PGHOST", &*database.socket()), ("PGPORT", "5432"), ("PGUSER", "postgres")]);
        command.env("PGDATABASE", database.name());
        let ended = complete(command).await.expect(code);
        assert!(!ended.stderr.contains("embedded"), "a database is configured: {}", ended.stderr);
        Report::of(&ended)
    };
    assert_eq!(check(&named, 0).await.accounting(), (1, 0, 0));
    assert_eq!(check(&rows, 14).await.text("/errors/0/sqlstate"), "22012", "any other name divides by zero");
}

/// Regression test: in about one of sixty runs that ended by `--duration`, the coordinator waited 15 s for agents, which waited for an
/// acknowledgement.
#[tokio::test]
async fn short_runs_end_after_their_duration() {
    for _ in 0..5 {
        let address = address();
        let mut coordinator = Process::start(run(address, 2, &["--duration", "200ms"]));
        let agents = [(); 2].map(|()| Process::start(agent(address, &["--once", "--null-database"])));
        coordinator.wait_for("agents armed").await;
        let armed = Instant::now();
        coordinator.end().await.expect(0);
        assert!(armed.elapsed() < Duration::from_secs(8), "{:?}", armed.elapsed());
        for mut agent in agents {
            agent.end().await.expect(0);
        }
    }
}
