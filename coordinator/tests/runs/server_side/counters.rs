//! The server's counters beside the client's times: they cover the rows of this run and no others.

use crate::server_side::server::{notes, rows, run, run_on, with_extension};
use muster_testing::files::Files;
use muster_testing::report::Report;

const COUNT: &str = "SELECT count(*) FROM generate_series(1, 1000 + :n::int) WHERE :hostname::text <> 'none' -- constants: 'a'";

fn number(report: &Report, pointer: &str) -> f64 {
    report.at(pointer).as_f64().unwrap()
}

#[tokio::test]
async fn server_time_and_client_time_are_reported_side_by_side() {
    let Some(database) = with_extension("side_by_side").await else { return };
    database.execute("CREATE TABLE read AS SELECT n FROM generate_series(1, 20000) n").await;
    let files = Files::new();
    let csv = files.write("rows.csv", rows(200, |_| 0.0));
    let query = files.write("q.sql", "SELECT n, 'x' FROM read WHERE n <= :n::int LIMIT 3;");
    let report = run(&database, &files, &[&csv, "--query", &query, "--warmup", "50"]).await;
    assert_eq!(report.list("/server/statements").len(), 1);
    let of = |name: &str| number(&report, &format!("/server/statements/0/{name}"));
    assert_eq!(
        [of("calls"), of("completed")],
        [200.0; 2],
        "the warm-up is not counted: {}",
        report.at("/server")
    );
    assert_eq!(of("rows"), number(&report, "/result/rows"));
    let (server, client) = (of("mean_exec_time_ms"), of("client_mean_ms"));
    assert!(server > 0.0 && server <= client, "{server} ms of {client} ms");
    assert_eq!(client, number(&report, "/service_time_ms/mean"));
    assert!((of("between_ms") - (client - server)).abs() < 1e-9);
    assert!(of("blocks_hit") >= 200.0 && of("hit_share") > 0.5);
    let hits = number(&report, "/server/database/blocks_hit");
    assert!(
        hits >= of("blocks_hit"),
        "the database's counters are read after its backends have ended: {hits}"
    );
    assert!(number(&report, "/server/database/commits") >= 200.0);
    assert_eq!(notes(&report), [""; 0]);
    database.wait_for_no_workers().await;
}

#[tokio::test]
async fn every_protocol_finds_its_own_statement() {
    let Some(database) = with_extension("protocols").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.0));
    let query = files.write("q.sql", COUNT);
    for protocol in ["prepared", "extended", "simple"] {
        let report = run(&database, &files, &[&csv, "--query", &query, "--protocol", protocol]).await;
        assert_eq!(report.number("/server/statements/0/calls"), 40, "{protocol}: {}", report.at("/server"));
        assert_eq!(notes(&report), [""; 0], "{protocol}");
    }
}

#[tokio::test]
async fn each_statement_of_a_mix_has_its_own_counters() {
    let Some(database) = with_extension("mix").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(60, |_| 0.0));
    let count = format!("count={}@2", files.write("count.sql", COUNT));
    let add = format!("add={}", files.write("add.sql", "SELECT :n::int + 1"));
    let report = run(&database, &files, &[&csv, "--query", &count, "--query", &add]).await;
    for (position, name) in ["count", "add"].iter().enumerate() {
        let of = |field: &str| report.at(&format!("/server/statements/{position}/{field}")).clone();
        assert_eq!(of("name"), *name);
        assert_eq!(of("calls"), report.at(&format!("/statements/{position}/completed")).clone());
        assert_eq!(of("client_mean_ms"), *report.at(&format!("/statements/{position}/service_time_ms/mean")));
    }
    assert_eq!(notes(&report), [""; 0]);
}

#[tokio::test]
async fn a_role_without_privileges_sees_its_own_statements() {
    let Some(database) = with_extension("plain_role").await else { return };
    database.execute("CREATE ROLE plain LOGIN").await;
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.0));
    let query = files.write("q.sql", COUNT);
    // The figures of one role do not include those of the other.
    assert_eq!(
        run(&database, &files, &[&csv, "--query", &query]).await.number("/server/statements/0/calls"),
        40
    );
    let url = database.url().replace("postgres@", "plain@");
    let report = Report::of(&run_on(&url, &files, &[&csv, "--query", &query]).await.expect(0));
    assert_eq!(report.number("/server/statements/0/calls"), 40, "{}", report.at("/server"));
    assert_eq!(notes(&report), [""; 0]);
}

#[tokio::test]
async fn executions_by_other_clients_are_noted() {
    let Some(database) = with_extension("others").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(20, |_| 0.1));
    let query = format!("q={}", files.write("q.sql", "SELECT :n::int FROM pg_sleep(:seconds::float8)"));
    let args = [&*csv, "--query", &query];
    let (report, ()) = tokio::join!(run(&database, &files, &args), async {
        database.wait_for_running(2).await;
        let other = database.session().await;
        other.query("SELECT $1::int FROM pg_sleep($2::float8)", &[&1, &0.0_f64]).await.unwrap();
    });
    assert_eq!(report.number("/server/statements/0/calls"), 21, "{}", report.at("/server"));
    assert_eq!(
        notes(&report),
        [
            "query 'q': the server counted 21 executions, the run completed 20: another client with this role ran it \
          meanwhile, or rows ran twice"
        ]
    );
}

#[tokio::test]
async fn a_reset_during_the_run_is_noted_and_its_figures_are_omitted() {
    let Some(database) = with_extension("reset").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(20, |_| 0.1));
    let query = files.write("q.sql", "SELECT :n::int FROM pg_sleep(:seconds::float8)");
    let args = [&*csv, "--query", &query];
    let (report, ()) = tokio::join!(run(&database, &files, &args), async {
        // Only for this database, because other tests use the same server.
        let own = "SELECT oid FROM pg_database WHERE datname = current_database()";
        let some = format!(
            "SELECT CASE WHEN sum(calls) > 2 THEN 'some' ELSE '' END FROM pg_stat_statements \
             WHERE dbid = ({own}) AND query LIKE 'SELECT $1::int FROM pg\\_sleep%'"
        );
        database.wait_for_text(&some).await;
        database.execute(&format!("SELECT pg_stat_statements_reset(0, ({own}), 0), pg_stat_reset()")).await;
    });
    // The statement had no entry when the run began and got a new one after the reset: the report can only show that its calls are too few.
    let joined = notes(&report).join("; ");
    assert!(joined.contains("its entry was evicted meanwhile"), "{joined}");
    assert!(joined.contains("the statistics of the database were reset during the run"), "{joined}");
    assert!(report.at("/server/database").is_null());
}

#[tokio::test]
async fn a_rate_search_reports_the_counters_of_its_confirmation() {
    let Some(database) = with_extension("search").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.01));
    let query = files.write("q.sql", "SELECT pg_sleep(:seconds::float8)");
    let search = ["--max-rate", "--slo", "median<30ms", "--step-time", "1s", "--max-rate-from", "100"];
    let report = run(&database, &files, &[&[&*csv, "--query", &query], &search[..]].concat()).await;
    let completed = report.number("/queries/completed");
    assert_eq!(report.number("/server/statements/0/calls"), completed, "{}", report.at("/server"));
}
