//! The results do not depend on the protocol.

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

async fn run(database: &Database, args: &[&str]) -> Report {
    let head = ["run", "--local", "--agents", "2", "--output", "json", "--database-url", database.url()];
    let ended = complete(coordinator(&[&head, args].concat())).await;
    let report = Report::of(&ended);
    assert_eq!(report.accounting(), (200, 0, 0), "{args:?}");
    report
}

#[tokio::test]
async fn every_protocol_and_plan_returns_the_rows_of_prepared_statements() {
    let Some(database) = Database::demo("protocols").await else { return };
    let prepared = run(&database, &["--protocol", "prepared"]).await;
    assert!(prepared.number("/result/rows") > 200 * 60);
    for args in [
        &["--protocol", "extended"][..],
        &["--plan-cache-mode", "force_generic_plan"],
        &["--plan-cache-mode", "force_custom_plan"],
    ] {
        let other = run(&database, args).await;
        assert_eq!(other.at("/result"), prepared.at("/result"), "{args:?}: rows, bytes and digest");
    }
    // The simple protocol returns values as text, so the bytes and the digest differ.
    let simple = run(&database, &["--protocol", "simple"]).await;
    assert_eq!(simple.number("/result/rows"), prepared.number("/result/rows"));
    let protocol = |report: &Report| report.text("/query/protocol").to_owned();
    assert_eq!([protocol(&prepared), protocol(&simple)], ["prepared", "simple"]);
}

#[tokio::test]
async fn a_type_without_binary_output_is_sent_as_text_and_the_report_shows_it() {
    let Some(database) = Database::empty("text_results").await else { return };
    database.execute("CREATE TYPE with_acl AS (n INT, acl aclitem)").await;
    let files = Files::new();
    let csv = files.write("rows.csv", "hostname,n\na,1\nb,2\n");
    let acl = "'=r/postgres'::aclitem";
    let check = async |sql: &str, args: &[&str], code: i32, format: &str, reason: &str| {
        let query = files.write("q.sql", sql);
        let head =
            ["run", "--local", "--output", "json", "--database-url", database.url(), &csv, "--query", &query];
        let ended = complete(coordinator(&[&head, args].concat())).await.expect(code);
        let report = Report::of(&ended);
        let used = report.at("/query/results");
        assert_eq!((&used["format"], &used["reason"]), (&format.into(), &reason.into()), "{sql} {args:?}");
        report
    };
    let why = "aclitem has no binary output";
    check(&format!("SELECT {acl}, :n::int"), &[], 0, "text", why).await;
    check(&format!("SELECT ARRAY[{acl}], :n::int"), &["--protocol", "extended"], 0, "text", why).await;
    check(&format!("SELECT (:n::int, {acl})::with_acl"), &[], 0, "text", why).await;
    let refused =
        check(&format!("SELECT {acl}, :n::int"), &["--results", "binary"], 14, "binary", "--results").await;
    assert_eq!(refused.text("/errors/0/sqlstate"), "42883");
    assert!(refused.text("/errors/0/hint").contains("--results text"));

    // The bytes are the same in both formats, but the results are not the same.
    let sql = "SELECT 'same'::text, :n::text";
    let binary = check(sql, &[], 0, "binary", "default").await;
    let text = check(sql, &["--results", "text"], 0, "text", "--results").await;
    let simple =
        check(sql, &["--protocol", "simple"], 0, "text", "the simple protocol supports no other format")
            .await;
    assert_eq!(text.at("/result"), simple.at("/result"));
    assert_eq!(text.number("/result/bytes"), binary.number("/result/bytes"));
    assert_ne!(text.text("/result/digest"), binary.text("/result/digest"));
    let versus =
        check(&format!("SELECT {acl}, :n::int"), &["--versus", database.url()], 0, "text", why).await;
    assert_eq!(versus.text("/versus/base/digest"), versus.text("/versus/new/digest"));
}

#[tokio::test]
async fn server_errors_are_shown_with_the_placeholders_of_the_user() {
    let Some(database) = Database::empty("own_words").await else { return };
    database.execute("CREATE TABLE single (n INT PRIMARY KEY)").await;
    let files = Files::new();
    let csv = files.write("rows.csv", "hostname,n\na,1\nb,2\n");
    let run = async |sql: &str, code: i32| {
        let query = files.write("q.sql", sql);
        let args = ["run", "--local", "--output", "json", "--no-run-dir", "--database-url", database.url()];
        complete(coordinator(&[&args[..], &[&csv, "--query", &query]].concat())).await.expect(code)
    };
    run("SELECT :n", 0).await;
    run("SELECT :hostname::text, jsonb_build_array(:n) FROM nowhere", 2)
        .await
        .expect_stderr("\"nowhere\" does not exist");
    run("SELECT INTERVAL :n", 2).await.expect_stderr("at or near \":n\"");
    let refused = Report::of(&run("INSERT INTO single VALUES (:n::int)", 14).await);
    assert_eq!(refused.text("/errors/0/sqlstate"), "25006");
    assert!(refused.text("/errors/0/hint").contains("agent --allow-writes"));
    let detailed = "DO $$ BEGIN RAISE 'no' USING DETAIL = 'why', HINT = 'how', ERRCODE = 'P0001'; END $$";
    let detailed = Report::of(&run(detailed, 14).await);
    assert_eq!((detailed.text("/errors/0/detail"), detailed.text("/errors/0/hint")), ("why", "how"));
}

#[tokio::test]
async fn target_session_attrs_selects_a_server_as_in_libpq() {
    let Some(database) = Database::empty("attrs").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", "hostname\na\n");
    let query = files.write("q.sql", "SELECT :hostname");
    // The first host of the list has no server.
    let several = database.url().replace("host=", "host=127.0.0.1,").replace("port=", "port=1,");
    let at = |attrs: &str| format!("{several}&target_session_attrs={attrs}");
    for (attrs, code) in
        [("primary", 0), ("read-write", 0), ("prefer-standby", 0), ("any", 0), ("standby", 2)]
    {
        let url = at(attrs);
        let args = ["run", "--local", "--no-run-dir", "--database-url", &url, &csv, "--query", &query];
        let ended = complete(coordinator(&args)).await.expect(code);
        if code != 0 {
            ended.expect_stderr("the server is not a standby");
        }
    }
}
