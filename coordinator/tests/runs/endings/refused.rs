//! Runs that cannot start because of the statement, the database or the address. Each error says what is wrong and how to fix it.

use tokio::net::TcpListener;

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, Process, address, agent, complete, coordinator, run};

/// Two agents join before the run and have to be waiting again afterwards.
async fn refused_run(database: &Database, more: &[&str]) -> Ended {
    let address = address();
    let own = ["--database-url", database.url()];
    let mut coordinator = Process::start(run(address, 2, &[&own, more].concat()));
    let mut agents = [(); 2].map(|()| Process::start(agent(address, &[])));
    let ended = coordinator.end().await.expect(2);
    assert_eq!(ended.stdout, "");
    for agent in &mut agents {
        agent.wait_for("waiting for a coordinator").await;
        assert!(agent.is_running(), "{}", agent.stderr());
    }
    database.wait_for_no_workers().await;
    ended
}

#[tokio::test]
async fn a_statement_that_the_server_rejects_is_shown_with_the_error_position() {
    let Some(database) = Database::empty("refused_statement").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("wrong.sql", "-- a comment\nSELECT :hostname::text,\n  nonsense + 1\n");
    let ended = refused_run(&database, &[&rows, "--query", &query]).await;
    let expected = "cannot run this query: column \"nonsense\" does not exist (SQLSTATE 42703)\nLINE 3:   nonsense + 1\n          ^\n";
    ended.expect_stderr(expected);
}

#[tokio::test]
async fn the_error_for_a_missing_table_includes_how_to_create_it() {
    let Some(database) = Database::empty("refused_table").await else { return };
    let ended = refused_run(&database, &[]).await;
    ended
        .expect_stderr("(SQLSTATE 42P01)")
        .expect_stderr("HINT: create the demo table with `coordinator migrate`");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_without_its_password() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("one.sql", "SELECT :hostname::text");
    // No process listens on this test's own address.
    let url = format!("postgresql://someone:hush@{}/metrics", address());
    let args = ["run", "--local", &rows, "--query", &query, "--database-url", &url];
    let ended = complete(coordinator(&args)).await.expect(2).expect_stderr("onnection refused");
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_error_for_a_port_in_use_names_the_listen_option() {
    let address = address();
    let _taken = TcpListener::bind(address).await.unwrap();
    let ended = complete(run(address, 1, &[])).await.expect(2);
    ended
        .expect_stderr(&format!("cannot listen on {address}"))
        .expect_stderr("--listen chooses another address");
}
