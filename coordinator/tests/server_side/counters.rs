//! Counters of the server beside the client's times: of this run's rows and of no others.

use crate::server::{counting, notes, rows, run, run_on};
use crate::support::files::Files;
use crate::support::report::Report;

const COUNT: &str = "SELECT count(*) FROM generate_series(1, 1000 + :n::int) WHERE :hostname::text <> 'nobody' -- constants: 'a'";

fn number(report: &Report, pointer: &str) -> f64 {
    report.at(pointer).as_f64().unwrap()
}

#[tokio::test]
async fn server_time_and_client_time_stand_side_by_side() {
    let Some(database) = counting("side_by_side").await else { return };
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
    assert!(hits >= of("blocks_hit"), "the database is told of once its backends have ended: {hits}");
    assert!(number(&report, "/server/database/commits") >= 200.0);
    assert_eq!(notes(&report), [""; 0]);
    database.wait_for_silence().await;
}

#[tokio::test]
async fn every_protocol_finds_its_own_statement() {
    let Some(database) = counting("protocols").await else { return };
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
async fn each_statement_of_a_mix_has_a_line() {
    let Some(database) = counting("mix").await else { return };
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
    let Some(database) = counting("plain_role").await else { return };
    database.execute("CREATE ROLE plain LOGIN").await;
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.0));
    let query = files.write("q.sql", COUNT);
    // Its figures do not enter those of the other.
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
async fn executions_of_others_are_told() {
    let Some(database) = counting("others").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(20, |_| 0.1));
    let query = format!("q={}", files.write("q.sql", "SELECT :n::int FROM pg_sleep(:seconds::float8)"));
    let words = [&*csv, "--query", &query];
    let (report, ()) = tokio::join!(run(&database, &files, &words), async {
        database.wait_for_running(2).await;
        let other = database.session().await;
        other.query("SELECT $1::int FROM pg_sleep($2::float8)", &[&1, &0.0_f64]).await.unwrap();
    });
    assert_eq!(report.number("/server/statements/0/calls"), 21, "{}", report.at("/server"));
    assert_eq!(
        notes(&report),
        [
            "query 'q': the server counted 21 executions, the run completed 20: somebody else with this role ran it \
          meanwhile, or rows ran twice"
        ]
    );
}

#[tokio::test]
async fn a_reset_in_mid_run_is_told_and_leaves_no_figure() {
    let Some(database) = counting("reset").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(20, |_| 0.1));
    let query = files.write("q.sql", "SELECT :n::int FROM pg_sleep(:seconds::float8)");
    let words = [&*csv, "--query", &query];
    let (report, ()) = tokio::join!(run(&database, &files, &words), async {
        // Of this database alone: the server is that of the other tests, too.
        let own = "SELECT oid FROM pg_database WHERE datname = current_database()";
        let some = format!(
            "SELECT CASE WHEN sum(calls) > 2 THEN 'some' ELSE '' END FROM pg_stat_statements \
             WHERE dbid = ({own}) AND query LIKE 'SELECT $1::int FROM pg\\_sleep%'"
        );
        database.wait_for_text(&some).await;
        database.execute(&format!("SELECT pg_stat_statements_reset(0, ({own}), 0), pg_stat_reset()")).await;
    });
    // The statement's entry began anew, and had none when the run began: that its calls are too few is all that can be seen.
    let told = notes(&report).join("; ");
    assert!(told.contains("its entry was thrown away meanwhile"), "{told}");
    assert!(told.contains("somebody reset the statistics of the database in mid-run"), "{told}");
    assert!(report.at("/server/database").is_null());
}

#[tokio::test]
async fn a_search_is_told_of_by_its_confirmation() {
    let Some(database) = counting("search").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.01));
    let query = files.write("q.sql", "SELECT pg_sleep(:seconds::float8)");
    let search = ["--max-rate", "--slo", "median<30ms", "--step-time", "1s", "--max-rate-from", "100"];
    let report = run(&database, &files, &[&[&*csv, "--query", &query], &search[..]].concat()).await;
    let completed = report.number("/queries/completed");
    assert_eq!(report.number("/server/statements/0/calls"), completed, "{}", report.at("/server"));
}
