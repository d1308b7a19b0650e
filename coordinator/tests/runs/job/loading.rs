//! `coordinator migrate`: the content of the table after one or several migrations.

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, complete, coordinator};

const ROWS: &str = "SELECT count(*) FROM cpu_usage";
const INDEXES: &str = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%(host, ts)%'";

async fn migrate(database: &Database, args: &[&str]) -> Ended {
    let head = ["migrate", "--database-url", database.url()];
    let ended = complete(coordinator(&[&head, args].concat())).await;
    assert_eq!(ended.stdout, "", "stdout is for reports");
    ended
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let Some(database) = Database::empty("migrate_twice").await else { return };
    migrate(&database, &["--generate"]).await.expect(0).expect_stderr("345,600 rows loaded");
    let digest = "SELECT md5(string_agg(t::text, ',' ORDER BY host, ts)) FROM cpu_usage t";
    let first = database.text(digest).await;
    migrate(&database, &["--generate"]).await.expect(0).expect_stderr("was left unchanged");
    assert_eq!(database.number(ROWS).await, 345_600);
    assert_eq!(database.text(digest).await, first);
    assert_eq!(database.number(INDEXES).await, 0, "no index was requested");

    migrate(&database, &["--index"]).await.expect(0).expect_stderr("was left unchanged");
    assert_eq!(database.number(INDEXES).await, 1);
    migrate(&database, &["--index"]).await.expect(0);
    assert_eq!(database.number(INDEXES).await, 1);
}

#[tokio::test]
async fn user_data_is_loaded_and_replaced_only_on_request() {
    let Some(database) = Database::empty("migrate_own").await else { return };
    let files = Files::new();
    let few =
        files.write("few.csv", "ts,host,usage\n2017-01-01 08:00:00,a,0.5\n2017-01-01 08:00:10,b,99.5\n");
    let one = files.write("one.csv", "usage,host,ts\n7.25,c,2020-02-29 12:00:00+02\n");
    migrate(&database, &["--data", &few]).await.expect(0).expect_stderr("2 rows loaded");
    migrate(&database, &["--data", &one]).await.expect(0).expect_stderr("was left unchanged");
    assert_eq!(database.number(ROWS).await, 2);
    migrate(&database, &["--data", &one, "--replace"]).await.expect(0).expect_stderr("1 row loaded");
    let row = "SELECT host || '|' || usage || '|' || (ts AT TIME ZONE 'UTC') FROM cpu_usage";
    assert_eq!(database.text(row).await, "c|7.25|2020-02-29 10:00:00");
}

#[tokio::test]
async fn invalid_data_is_reported_by_line_and_changes_nothing() {
    let Some(database) = Database::empty("migrate_bad").await else { return };
    let files = Files::new();
    let good = files.write("good.csv", "ts,host,usage\n2017-01-01 08:00:00,a,0.5\n");
    let bad =
        files.write("bad.csv", "ts,host,usage\n2017-01-01 08:00:00,a,0.5\n2017-01-01 08:00:10,b,much\n");
    migrate(&database, &["--data", &good]).await.expect(0);
    migrate(&database, &["--data", &bad, "--replace"]).await.expect(2).expect_stderr("bad.csv:3");
    assert_eq!(database.number(ROWS).await, 1, "one transaction, so the previous rows are still there");
}

#[tokio::test]
async fn an_embedded_server_cannot_be_migrated() {
    let args = ["migrate", "--database-url", "embedded"];
    complete(coordinator(&args)).await.expect(2).expect_stderr("exists only during a run");
}
