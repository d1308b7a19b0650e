//! User-supplied statements: placeholders of any type, and read-only sessions.

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, Process, address, agent, run};
use muster_testing::report::Report;

/// Runs with two agents that are started with these arguments.
async fn run_on(database: &Database, rows: &str, query: &str, agent_args: &[&str]) -> Ended {
    let address = address();
    let mut coordinator =
        Process::start(run(address, 2, &[rows, "--query", query, "--database-url", database.url()]));
    let agents = [(); 2].map(|()| Process::start(agent(address, &[&["--once"], agent_args].concat())));
    let ended = coordinator.end().await;
    for mut agent in agents {
        agent.end().await.expect(0);
    }
    ended
}

#[tokio::test]
async fn placeholders_take_the_types_of_their_positions() {
    let Some(database) = Database::empty("types").await else { return };
    database
        .execute("CREATE TABLE typed (host TEXT, n INT, at TIMESTAMPTZ, tags TEXT[], doc JSONB, id UUID, price NUMERIC(9, 2))")
        .await;
    let files = Files::new();
    let header = "hostname,n,at,tags,doc,id,price,unused";
    let full = r#"a,-42,2017-01-01 10:00:00+02,"{x,""y z"",NULL}","{""k"": [1, null]}",5f0c5b3e-0000-4000-8000-000000000001,3.141,!"#;
    let rows = files.write(
        "rows.csv",
        format!("{header}\n{full}\nb,,,,,,,\n\"Robert'); DROP TABLE typed;--\",1,,,,,,\n"),
    );
    let values = ":hostname, :n, :at, :tags, :doc, :id, :price";
    let query = files.write("typed.sql", format!("INSERT INTO typed VALUES ({values}) RETURNING *"));
    let report = Report::of(&run_on(&database, &rows, &query, &["--allow-writes"]).await.expect(0));
    assert_eq!(report.accounting(), (3, 0, 0));
    assert_eq!(report.number("/result/rows"), 3);
    let line = |host: &str| {
        format!(
            "SELECT concat_ws('|', n, at AT TIME ZONE 'UTC', tags, doc, id, price) FROM typed WHERE host LIKE '{host}'"
        )
    };
    assert_eq!(
        database.text(&line("a")).await,
        r#"-42|2017-01-01 08:00:00|{x,"y z",NULL}|{"k": [1, null]}|5f0c5b3e-0000-4000-8000-000000000001|3.14"#
    );
    assert_eq!(database.text(&line("b")).await, "", "an empty field is NULL");
    assert_eq!(database.text(&line("Robert%")).await, "1", "SQL in a host is data");
}

#[tokio::test]
async fn an_invalid_value_fails_only_its_row() {
    let Some(database) = Database::empty("bad_values").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname,n\na,1\nb,two\nc,3\n");
    let query = files.write("n.sql", "SELECT :hostname::text, :n::int");
    let report = Report::of(&run_on(&database, &rows, &query, &[]).await.expect(14));
    assert_eq!(report.accounting(), (2, 1, 0));
    assert_eq!(report.text("/errors/0/sqlstate"), "22P02");
    assert_eq!((report.number("/errors/0/row"), report.text("/errors/0/host")), (1, "b"));
    assert_eq!(report.number("/service_time_ms/count"), 2, "failures are not part of the latencies");
}

#[tokio::test]
async fn only_an_agent_that_allows_writes_writes() {
    let Some(database) = Database::empty("writes").await else { return };
    database.execute("CREATE TABLE written (host TEXT)").await;
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\nb\nc\nd\n");
    let query = files.write("write.sql", "INSERT INTO written VALUES (:hostname)");
    let refused = Report::of(&run_on(&database, &rows, &query, &[]).await.expect(14));
    assert_eq!(refused.accounting(), (0, 4, 0));
    assert_eq!(refused.text("/errors/0/sqlstate"), "25006");
    assert_eq!(refused.number("/service_time_ms/count"), 0, "no query completed");
    assert_eq!(database.number("SELECT count(*) FROM written").await, 0);

    let allowed = Report::of(&run_on(&database, &rows, &query, &["--allow-writes"]).await.expect(0));
    assert_eq!(allowed.accounting(), (4, 0, 0));
    assert_eq!(database.number("SELECT count(*) FROM written").await, 4);
}
