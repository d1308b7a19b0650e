//! The results of the queries and the workers that run them, compared with plain SQL and with the server's view.

use std::collections::BTreeMap;

use serde_json::Value;

use muster_testing::binaries::workspace;
use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, complete, coordinator, run};
use muster_testing::report::Report;

/// Expects one row per window and minute with a value, counted without the product's code.
const MINUTES: &str = "SELECT count(*) FROM (SELECT DISTINCT w.id, date_trunc('minute', ts) FROM windows w \
     JOIN cpu_usage u ON u.host = w.hostname AND u.ts >= w.start_time AND u.ts <= w.end_time) AS minutes";

/// Loads the committed workload into a table.
async fn load_windows(database: &Database) {
    let csv = std::fs::read_to_string(workspace().join("data/query_params.csv")).unwrap();
    let rows = csv.lines().skip(1).map(|line| {
        let [hostname, start, end] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        format!("('{hostname}', '{start}+00', '{end}+00')")
    });
    let rows: Vec<String> = rows.collect();
    let create =
        "CREATE TABLE windows (id SERIAL, hostname TEXT, start_time TIMESTAMPTZ, end_time TIMESTAMPTZ)";
    database.execute(create).await;
    let insert = "INSERT INTO windows (hostname, start_time, end_time) VALUES";
    database.execute(&format!("{insert} {}", rows.join(","))).await;
}

async fn run_with_separate_agents(database: &Database, agents: u16) -> Report {
    let address = address();
    let mut coordinator = Process::start(run(address, agents, &["--database-url", database.url()]));
    let agents: Vec<Process> = (0..agents).map(|_| Process::start(agent(address, &["--once"]))).collect();
    let report = Report::of(&coordinator.end().await.expect(0));
    for mut agent in agents {
        agent.end().await.expect(0);
    }
    report
}

async fn run_locally(database: &Database, agents: &str) -> Report {
    let args = ["run", "--local", "--agents", agents, "--output", "json", "--database-url", database.url()];
    Report::of(&complete(coordinator(&args)).await.expect(0))
}

#[tokio::test]
async fn the_results_equal_those_of_plain_sql_with_any_number_of_agents() {
    let Some(database) = Database::demo("answers").await else { return };
    load_windows(&database).await;
    let minutes = u64::try_from(database.number(MINUTES).await).unwrap();
    assert!(minutes > 200 * 60, "each window is an hour and touches at least sixty minutes: {minutes}");
    let reports = [
        run_with_separate_agents(&database, 3).await,
        run_locally(&database, "1").await,
        run_locally(&database, "10").await,
    ];
    for report in &reports {
        assert_eq!(report.accounting(), (200, 0, 0));
        assert_eq!(report.number("/result/rows"), minutes);
        assert_eq!(report.at("/result"), reports[0].at("/result"), "rows, bytes and digest");
        assert_eq!(report.text("/ending"), "completed");
        assert_eq!(report.number("/service_time_ms/count"), 200);
    }
    assert_eq!(reports.each_ref().map(|report| report.list("/agents").len()), [3, 1, 10]);
    let digest = reports[0].text("/result/digest");

    // A digest that does not depend on the data would prove nothing.
    database.execute("UPDATE cpu_usage SET usage = usage + 1 WHERE host = 'host_000000'").await;
    let other = run_locally(&database, "3").await;
    assert_eq!(other.number("/result/rows"), minutes);
    assert_ne!(other.text("/result/digest"), digest);
}

#[tokio::test]
async fn every_host_stays_on_its_planned_connection() {
    let Some(database) = Database::empty("affinity").await else { return };
    database.execute("CREATE TABLE seen (host TEXT, name TEXT, backend INT)").await;
    let files = Files::new();
    let sql = "INSERT INTO seen VALUES (:hostname, current_setting('application_name'), pg_backend_pid())";
    let query = files.write("insert.sql", sql);
    let address = address();
    let args = ["--query", &query, "--database-url", database.url()];
    let mut coordinator = Process::start(run(address, 3, &args));
    let agents =
        [(); 3].map(|()| Process::start(agent(address, &["--once", "--allow-writes", "--workers", "2"])));
    let report = Report::of(&coordinator.end().await.expect(0));
    for mut agent in agents {
        agent.end().await.expect(0);
    }
    assert_eq!(database.number("SELECT count(*) FROM seen").await, 200, "every row ran once");
    let moved =
        "SELECT count(*) FROM (SELECT host FROM seen GROUP BY host HAVING count(DISTINCT backend) > 1) AS h";
    assert_eq!(database.number(moved).await, 0, "according to the server");

    // application_name is `muster:<run>:<slot>:<epoch>`.
    let slots = "SELECT json_object_agg(host, slot)::text FROM (SELECT DISTINCT host, split_part(name, ':', 3) AS slot FROM seen) AS s";
    let seen: BTreeMap<String, String> = serde_json::from_str(&database.text(slots).await).unwrap();
    let reported = report.list("/hosts").iter().map(|host| {
        let worker = host["worker"].as_str().unwrap();
        (host["host"].as_str().unwrap().to_owned(), worker.split('/').next().unwrap().to_owned())
    });
    assert_eq!(seen, reported.collect(), "the report agrees with the server");
    let rows_seen = "SELECT count(DISTINCT backend) FROM seen";
    let busy = report.list("/workers").iter().filter(|worker| worker["completed"] != 0).count();
    assert_eq!(database.number(rows_seen).await, busy as i64);
}

#[tokio::test]
async fn the_plan_predicts_the_hosts_and_rows_of_the_report() {
    let Some(database) = Database::demo("planned").await else { return };
    for method in ["rendezvous", "balanced"] {
        let args = ["--agents", "3", "--workers", "2", "--placement", method];
        let planned = complete(coordinator(&[&["plan", "--json"], &args[..]].concat())).await.expect(0);
        let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
        let head = ["run", "--local", "--output", "json", "--database-url", database.url()];
        let report = Report::of(&complete(coordinator(&[&head, &args[..]].concat())).await.expect(0));
        let planned = planned["workers"].as_array().unwrap().iter();
        let planned: Vec<_> =
            planned.map(|one| (one["worker"].clone(), one["hosts"].clone(), one["rows"].clone())).collect();
        let ran = report.list("/workers").iter();
        let ran: Vec<_> =
            ran.map(|one| (one["worker"].clone(), one["hosts"].clone(), one["completed"].clone())).collect();
        assert_eq!(planned, ran, "{method}");
    }
}

/// Returns the note about different results, for a run whose second agent is killed after some passes: its hosts move to the first.
async fn note_after_a_kill(databases: [&Database; 2]) -> Option<String> {
    let files = Files::new();
    let query = files.write("q.sql", "SELECT current_database(), :hostname::text, pg_sleep(0.005)::text");
    let hosts: String = (0..40).map(|number| format!("host-{number}\n")).collect();
    let rows = files.write("rows.csv", format!("hostname\n{hosts}"));
    let address = address();
    let args = [&*rows, "--query", &query, "--repeat", "60", "--slot-grace", "100ms"];
    let mut coordinator = Process::start(run(address, 2, &args));
    let agents = databases.map(|database| {
        Process::start(agent(address, &["--database-url", database.url(), "--allow-writes"]))
    });
    coordinator.wait_for("agents armed").await;
    for database in databases {
        let workers = if databases[0].name() == databases[1].name() { 2 } else { 1 };
        // Each record of its hosts has run, and some have run several times.
        database.wait_for(workers, &database.workers("query_start > backend_start + '2 s'")).await;
    }
    agents[1].signal("KILL");
    let report = Report::of(&coordinator.end().await.expect(0));
    let notes = report.list("/notes").iter().map(|note| note.as_str().unwrap().to_owned());
    notes.into_iter().find(|note| note.contains("returned different results"))
}

#[tokio::test]
async fn different_results_from_another_agent_are_noted() {
    let Some(one) = Database::empty("same_rows").await else { return };
    let other = Database::empty("other_rows").await.unwrap();
    assert_eq!(note_after_a_kill([&one, &one]).await, None);
    let note = note_after_a_kill([&one, &other]).await.expect("a note");
    assert!(
        note.contains("slot-0") && note.contains("slot-1") && note.contains("hold different data"),
        "{note}"
    );
}
