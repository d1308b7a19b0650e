//! The queries that reach the database: every row once, on its host's connection, in the file's order, one at a time; and values exactly
//! as in the file, never inside the SQL.

use std::collections::{BTreeMap, BTreeSet};

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::fake_postgres::{Execution, Record};
use muster_testing::processes::Ended;
use muster_testing::scripted_run::Run;

const HOSTS: usize = 12;

/// The delays differ, so that a row that overtakes another one is noticed, and each row is identified by its delay.
fn check_order(run: impl FnOnce(Run) -> Ended, connections: usize) {
    let fake = FakePostgres::start();
    let script = |row: usize| format!("{}us", 200 + row + row * 7_919 % 13 * 200);
    let rows: Vec<_> = (0..300).map(|row| format!("h{},{}", row * row % HOSTS, script(row))).collect();
    let report = run(Run::new(&fake.url(), &rows)).report(0);
    let record = fake.finish();
    assert_eq!((report.queries.total, report.queries.completed), (300, 300));
    assert_eq!(record.sessions.len(), connections);
    assert_eq!(record.executions.len(), 300);
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        let (host, script) = row.split_once(',').unwrap();
        expected.entry(host).or_default().push(script);
    }
    for (host, scripts) in expected {
        assert_host(&record, host, &scripts);
    }
    for session in 0..connections {
        assert_one_at_a_time(record.executions.iter().filter(|execution| execution.session == session));
    }
}

fn assert_host(record: &Record, host: &str, scripts: &[&str]) {
    let received: Vec<_> =
        record.of_host(host).map(|execution| execution.parameters[1].as_deref().unwrap()).collect();
    assert_eq!(received, scripts, "the rows of {host}, in the file's order");
    let sessions: BTreeSet<_> = record.of_host(host).map(|execution| execution.session).collect();
    assert_eq!(sessions.len(), 1, "{host} on one connection");
    let names: BTreeSet<_> =
        record.of_host(host).map(|execution| record.application_name(execution)).collect();
    assert_eq!(names.len(), 1, "{host} under one name: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("muster:")), "{names:?}");
}

fn assert_one_at_a_time<'a>(executions: impl Iterator<Item = &'a Execution>) {
    let executions: Vec<_> = executions.collect();
    for pair in executions.windows(2) {
        assert!(pair[1].received > pair[0].answered.unwrap(), "{pair:?}");
    }
}

#[test]
fn a_hosts_rows_stay_on_one_connection_in_the_files_order() {
    check_order(|run| run.local(4), 4);
}

#[test]
fn a_hosts_rows_stay_on_one_connection_with_several_workers_per_agent() {
    check_order(|run| run.with_processes(2, 3), 6);
}

#[test]
fn values_arrive_unchanged_and_never_in_the_sql() {
    let fake = FakePostgres::start();
    let query = "SELECT answer FROM fake WHERE host = :hostname AND script = :script AND note = :note";
    let notes = [
        "O'Brien",
        "'; DROP TABLE fake; --",
        "größe, 東京 🐘",
        "two\nlines",
        r"back\slash \x41",
        "$1 :note",
        " ",
    ];
    let quoted = |(row, note): (usize, &&str)| format!("h'{row},0us,\"{note}\"\n");
    let csv = ["hostname,script,note\n".to_owned(), notes.iter().enumerate().map(quoted).collect()].concat();
    let report = Run::new(&fake.url(), &[]).with_query(query, &csv).local(3).report(0);
    let record = fake.finish();
    assert_eq!(report.queries.completed, notes.len() as u64);
    let received: BTreeSet<_> =
        record.executions.iter().map(|execution| execution.parameters[2].as_deref().unwrap()).collect();
    assert_eq!(received, notes.into_iter().collect());
    let hosts: BTreeSet<_> = record.executions.iter().map(|execution| execution.host().to_owned()).collect();
    assert_eq!(hosts, (0..notes.len()).map(|row| format!("h'{row}")).collect());
    let prepared = query.replace(":hostname", "$1").replace(":script", "$2").replace(":note", "$3");
    // The empty statement comes last, before the connection is given to a worker.
    let is_introspection = |sql: &str| {
        sql.is_empty() || sql.contains("pg_settings") || sql.contains("pg_postmaster_start_time()")
    };
    let sql: BTreeSet<_> = record.statements.iter().filter(|sql| !is_introspection(sql)).collect();
    let setup = "SET TimeZone = 'UTC'; SET default_transaction_read_only = 'on'".to_owned();
    assert_eq!(sql, BTreeSet::from([&prepared, &setup]));
}

#[test]
fn an_empty_field_arrives_as_null() {
    let fake = FakePostgres::start();
    let query = "SELECT answer FROM fake WHERE host = :hostname AND script = :script AND note = :note";
    let csv = "hostname,script,note\nh,,\nh,0us,x\nh,0us,\n";
    let report = Run::new(&fake.url(), &[]).with_query(query, csv).local(1).report(0);
    let record = fake.finish();
    assert_eq!(report.queries.completed, 3);
    let notes: Vec<_> =
        record.executions.iter().map(|execution| execution.parameters[1..].to_owned()).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(notes, [vec![None, None], vec![text("0us"), text("x")], vec![text("0us"), None]]);
}
