//! Runs that cannot start: the statement, the database, the address. Each says what is wrong and how to go on.

use tokio::net::TcpListener;

use crate::support::database::Database;
use crate::support::files::Files;
use crate::support::processes::{Ended, Process, address, agent, complete, coordinator, run};

/// Two agents who are there before, and must be there afterwards.
async fn refused_run(database: &Database, more: &[&str]) -> Ended {
    let address = address();
    let own = ["--database-url", database.url()];
    let mut coordinator = Process::start(run(address, 2, &[&own, more].concat()));
    let mut agents = [(); 2].map(|()| Process::start(agent(address, &[])));
    let ended = coordinator.end().await.expect(2);
    assert_eq!(ended.stdout, "");
    for agent in &mut agents {
        agent.wait_for("waiting for a coordinator").await;
        assert!(agent.is_running(), "{}", agent.said());
    }
    database.wait_for_silence().await;
    ended
}

#[tokio::test]
async fn a_statement_that_the_server_refuses_is_shown_with_the_place() {
    let Some(database) = Database::empty("refused_statement").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("wrong.sql", "-- a comment\nSELECT :hostname::text,\n  nonsense + 1\n");
    let ended = refused_run(&database, &[&rows, "--query", &query]).await;
    let expected = "cannot run this query: column \"nonsense\" does not exist (SQLSTATE 42703)\nLINE 3:   nonsense + 1\n          ^\n";
    ended.says(expected);
}

#[tokio::test]
async fn a_missing_table_is_answered_with_how_to_create_it() {
    let Some(database) = Database::empty("refused_table").await else { return };
    let ended = refused_run(&database, &[]).await;
    ended.says("(SQLSTATE 42P01)").says("HINT: the demo's table is created by `coordinator migrate`");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_without_its_password() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("one.sql", "SELECT :hostname::text");
    // Nobody listens on an address of this test's own.
    let url = format!("postgresql://someone:hush@{}/metrics", address());
    let words = ["run", "--local", &rows, "--query", &query, "--database-url", &url];
    let ended = complete(coordinator(&words)).await.expect(2).says("onnection refused");
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_taken_port_is_answered_with_the_way_out() {
    let address = address();
    let _taken = TcpListener::bind(address).await.unwrap();
    let ended = complete(run(address, 1, &[])).await.expect(2);
    ended.says(&format!("cannot listen on {address}")).says("--listen chooses another address");
}
