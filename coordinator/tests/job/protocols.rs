//! The answers do not depend on the protocol that asked for them.

use crate::support::database::Database;
use crate::support::processes::{complete, coordinator};
use crate::support::report::Report;

async fn run(database: &Database, words: &[&str]) -> Report {
    let head = ["run", "--local", "--agents", "2", "--output", "json", "--database-url", database.url()];
    let ended = complete(coordinator(&[&head, words].concat())).await;
    let report = Report::of(&ended);
    assert_eq!(report.books(), (200, 0, 0), "{words:?}");
    report
}

#[tokio::test]
async fn every_protocol_and_plan_gives_the_rows_of_prepared_statements() {
    let Some(database) = Database::demo("protocols").await else { return };
    let prepared = run(&database, &["--protocol", "prepared"]).await;
    assert!(prepared.number("/result/rows") > 200 * 60);
    for words in [
        &["--protocol", "extended"][..],
        &["--plan-cache-mode", "force_generic_plan"],
        &["--plan-cache-mode", "force_custom_plan"],
    ] {
        let other = run(&database, words).await;
        assert_eq!(other.at("/result"), prepared.at("/result"), "{words:?}: rows, bytes and digest");
    }
    // Its values come as text, and so have other bytes and another digest.
    let simple = run(&database, &["--protocol", "simple"]).await;
    assert_eq!(simple.number("/result/rows"), prepared.number("/result/rows"));
    let protocol = |report: &Report| report.text("/query/protocol").to_owned();
    assert_eq!([protocol(&prepared), protocol(&simple)], ["prepared", "simple"]);
}
