//! Whole runs in each pool mode and with each protocol.

use std::fmt::Write;

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::pgbouncer::PgBouncer;
use muster_testing::processes::{self, Ended, Process, address, agent, complete, coordinator};
use muster_testing::report::Report;

const ROWS: u64 = 200;

async fn run(url: &str, args: &[&str]) -> Ended {
    let head = ["run", "--local", "--agents", "2", "--workers", "2", "--output", "json", "--no-run-dir"];
    complete(coordinator(&[&head[..], &["--database-url", url], args].concat())).await
}

/// A workload whose statement returns the settings of its session.
fn workload(files: &Files, statement: &str) -> [String; 3] {
    let mut csv = "hostname,n\n".to_owned();
    for row in 0..ROWS {
        writeln!(csv, "host_{:02},{row}", row % 20).unwrap();
    }
    [files.write("rows.csv", csv), "--query".to_owned(), files.write("query.sql", statement)]
}

const SETTINGS: &str = "SELECT :hostname::text, :n::int, current_setting('TimeZone'), current_setting('statement_timeout'), \
                        current_setting('transaction_read_only'), current_setting('plan_cache_mode'), \
                        extract(epoch FROM '2024-07-01 00:00'::timestamptz)::text";

const OPTIONS: [&str; 6] =
    ["--timezone", "Asia/Tokyo", "--timeout", "20s", "--plan-cache-mode", "force_custom_plan"];

async fn another_application_writes(pooler: &PgBouncer) {
    for _ in 0..8 {
        let client = pooler.client().await;
        client.batch_execute("INSERT INTO application VALUES (1)").await.unwrap();
    }
}

/// A run through a pooler returns the same results as one on the server's own connection, and leaves nothing behind.
async fn check_run(name: &str, mode: &str, size: usize, protocol: &str) {
    let Some(database) = Database::empty(name).await else { return };
    let Some(pooler) = PgBouncer::start(&database, mode, size).await else { return };
    database.execute("CREATE TABLE application (n INT)").await;
    another_application_writes(&pooler).await;
    assert_eq!(pooler.left_behind().await, [""; 0], "before");
    let files = Files::new();
    let workload = workload(&files, SETTINGS);
    let workload: Vec<&str> = workload.iter().map(String::as_str).collect();
    let args = [&workload, &OPTIONS[..], &["--protocol", protocol]].concat();
    let direct = Report::of(&run(database.url(), &args).await.expect(0));
    let ended = run(pooler.url(), &args).await.expect(0);
    let pooled = Report::of(&ended);
    assert_eq!(pooled.accounting(), (ROWS, 0, 0));
    assert_eq!(pooled.at("/result"), direct.at("/result"), "rows, bytes and digest");
    assert_eq!(pooled.at("/database/settings"), direct.at("/database/settings"));
    let notes = |report: &Report| report.at("/notes").to_string();
    assert!(notes(&pooled).contains("pooler") && !notes(&direct).contains("pooler"), "{}", notes(&pooled));
    assert_eq!(pooler.left_behind().await, [""; 0], "after");
    another_application_writes(&pooler).await;
    assert_eq!(database.number("SELECT count(*) FROM application").await, 16);
}

#[tokio::test]
async fn simple_queries_run_in_transaction_mode() {
    check_run("pooled_simple", "transaction", 3, "simple").await;
}

#[tokio::test]
async fn unnamed_statements_run_in_transaction_mode() {
    check_run("pooled_extended", "transaction", 3, "extended").await;
}

#[tokio::test]
async fn prepared_statements_run_in_session_mode() {
    check_run("pooled_session", "session", 12, "prepared").await;
}

#[tokio::test]
async fn prepared_statements_run_with_exactly_one_pool_connection_per_worker() {
    check_run("pooled_tight", "session", 4, "prepared").await;
}

#[tokio::test]
async fn simple_queries_run_in_session_mode() {
    check_run("pooled_session_simple", "session", 12, "simple").await;
}

#[tokio::test]
async fn prepared_statements_are_refused_in_transaction_mode_before_anything_is_left_behind() {
    for size in [1, 3] {
        let Some(database) = Database::empty(&format!("pooled_refused_{size}")).await else { return };
        let Some(pooler) = PgBouncer::start(&database, "transaction", size).await else { return };
        database.execute("CREATE TABLE application (n INT)").await;
        another_application_writes(&pooler).await;
        let files = Files::new();
        let workload = workload(&files, SETTINGS);
        let args: Vec<&str> = workload.iter().map(String::as_str).chain(OPTIONS).collect();
        let ended = run(pooler.url(), &args).await;
        assert_ne!(ended.code, Some(0), "{}", ended.stdout);
        let ended = ended
            .expect_stderr("a connection pooler in transaction mode")
            .expect_stderr("--protocol extended");
        drop(ended.expect_stderr("pool_mode = session"));
        assert_eq!(pooler.left_behind().await, [""; 0]);
        another_application_writes(&pooler).await;
    }
}

#[tokio::test]
async fn a_pooled_query_is_read_only_unless_writes_are_allowed() {
    let Some(database) = Database::empty("pooled_writes").await else { return };
    let Some(pooler) = PgBouncer::start(&database, "transaction", 3).await else { return };
    database.execute("CREATE TABLE application (n INT)").await;
    let files = Files::new();
    let workload = workload(&files, "INSERT INTO application SELECT :n::int WHERE :hostname <> ''");
    let own: Vec<&str> =
        workload.iter().map(String::as_str).chain(["--database-url", pooler.url()]).collect();
    for protocol in ["simple", "extended"] {
        for (agent_args, code, written) in [(&[][..], 14, 0), (&["--allow-writes"], 0, ROWS)] {
            let address = address();
            let args = [&own[..], &["--protocol", protocol]].concat();
            let mut coordinator = Process::start(processes::run(address, 1, &args));
            let mut agent = Process::start(agent(address, &[&["--once"], agent_args].concat()));
            let report = Report::of(&coordinator.end().await.expect(code));
            agent.end().await.expect(0);
            if written == 0 {
                assert_eq!(report.text("/errors/0/sqlstate"), "25006");
            }
            assert_eq!(database.number("SELECT count(*) FROM application").await, written as i64);
        }
        database.execute("TRUNCATE application").await;
    }
    assert_eq!(pooler.left_behind().await, [""; 0]);
}

#[tokio::test]
async fn concurrent_runs_execute_their_own_statements() {
    let Some(database) = Database::empty("pooled_two").await else { return };
    let Some(pooler) = PgBouncer::start(&database, "transaction", 2).await else { return };
    let files = [Files::new(), Files::new()];
    for protocol in ["simple", "extended"] {
        let statements = ["SELECT :hostname::text, :n::int", "SELECT :hostname::text, :n::int + 1000000"];
        let args = [0, 1].map(|index| {
            let [rows, query, file] = workload(&files[index], statements[index]);
            [
                rows,
                query,
                file,
                "--repeat".to_owned(),
                "5".to_owned(),
                "--protocol".to_owned(),
                protocol.to_owned(),
            ]
        });
        let args = [0, 1].map(|index| args[index].iter().map(String::as_str).collect::<Vec<_>>());
        let (one, other) = tokio::join!(run(pooler.url(), &args[0]), run(pooler.url(), &args[1]));
        for (pooled, args) in [(one, &args[0]), (other, &args[1])] {
            let direct = Report::of(&run(database.url(), args).await.expect(0));
            let pooled = Report::of(&pooled.expect(0));
            assert_eq!(pooled.at("/result"), direct.at("/result"), "{protocol}");
        }
    }
    assert_eq!(pooler.left_behind().await, [""; 0]);
}

#[tokio::test]
async fn the_demo_is_loaded_through_a_pooler() {
    let Some(database) = Database::empty("pooled_demo").await else { return };
    let Some(pooler) = PgBouncer::start(&database, "transaction", 2).await else { return };
    let args = ["migrate", "--generate", "--index", "--database-url", pooler.url()];
    complete(coordinator(&args)).await.expect(0);
    complete(coordinator(&args)).await.expect(0);
    assert_eq!(pooler.left_behind().await, [""; 0]);
}
