//! Queries that fail, connections that end, and databases that are unavailable: their effect on the report, the exit code, and the
//! executions that a fake server recorded.

use std::net::SocketAddr;

use muster_report::result::{Ending, RunResult};
use muster_testing::fake_postgres::{FICKLE, FakePostgres, NONSENSE, QUERY};
use muster_testing::scripted_run::Run;
use tokio::net::TcpSocket;

/// One row per script, all of one host and so on one connection.
fn rows(scripts: &[&str]) -> Vec<String> {
    scripts.iter().map(|script| format!("h0,{script}")).collect()
}

#[track_caller]
fn assert_counts(report: &RunResult, completed: u64, failed: u64) {
    let queries = &report.queries;
    let total = completed + failed;
    assert_eq!(
        (queries.total, queries.completed, queries.failed, queries.unaccounted, queries.retried),
        (total, completed, failed, 0, 0)
    );
    assert_eq!(report.ending, Ending::Completed);
    assert_eq!(report.service_time_ms.as_ref().map_or(0, |latency| latency.count), completed);
}

/// SQLSTATE, message, count, example row and host of each error.
fn errors(report: &RunResult) -> Vec<(&str, &str, u64, u64, &str)> {
    let errors = report.errors.iter();
    errors.map(|e| (e.sqlstate.as_str(), e.message.as_str(), e.count, e.row, e.host.as_str())).collect()
}

#[test]
fn errors_are_counted_by_code_and_message_with_an_example() {
    let fake = FakePostgres::start();
    let rows = [
        "h0,1ms",
        "h1,30ms; error 22012 division by zero",
        "h0,error 22012 division by zero",
        "h1,error 42501 permission denied for table t",
        "h0,error 22012 another text",
        "h1,error 22012 division by zero",
        "h1,1ms",
    ];
    let report = Run::new(&fake.url(), &rows.map(str::to_owned)).local(2).report(14);
    assert_counts(&report, 2, 5);
    assert_eq!(
        errors(&report),
        [
            ("22012", "division by zero", 3, 1, "h1"),
            ("42501", "permission denied for table t", 1, 3, "h1"),
            ("22012", "another text", 1, 4, "h0"),
        ]
    );
    let latency = report.service_time_ms.unwrap();
    assert_eq!(report.total_processing_time_ms, latency.mean * 2.0);
    assert_eq!(report.result.rows, 2);
    assert_eq!(fake.finish().sessions.len(), 2, "an error does not close the connection");
}

#[test]
fn a_query_beyond_the_timeout_is_cancelled_on_the_server_and_its_connection_is_replaced() {
    let fake = FakePostgres::start();
    let scripts = ["1ms", "forever", "1ms", "1ms"];
    let run = Run::new(&fake.url(), &rows(&scripts)).with(&["--timeout", "500ms"]);
    let report = run.local(1).report(14);
    let record = fake.finish();
    assert_counts(&report, 3, 1);
    let message = "no answer within 500ms (--timeout); cancelled on the server";
    assert_eq!(errors(&report), [("57014", message, 1, 1, "h0")]);
    assert!(report.service_time_ms.unwrap().max < 500.0);
    let sessions: Vec<_> = record.executions.iter().map(|execution| execution.session).collect();
    assert_eq!(sessions, [0, 0, 1, 1]);
    assert_eq!(record.cancelled, [0]);
    // The server counts from the receipt and the agent from the sending of the query; on a busy machine these may differ.
    let held = record.executions[1].at_least().as_millis();
    assert!((400..5_000).contains(&held), "cancelled after {held} ms");
}

#[test]
fn no_completed_query_took_longer_than_the_timeout() {
    // Delays around the limit in steps of 0.05 ms, which is finer than the resolution of the runtime's timer.
    let scripts: Vec<String> = (0..40).map(|row| format!("h{row},{}us", 4_000 + 50 * row)).collect();
    for timeout in ["5ms", "500us", "1ns"] {
        let fake = FakePostgres::start();
        let report = Run::new(&fake.url(), &scripts).with(&["--timeout", timeout]).local(2).report(14);
        fake.finish();
        assert_eq!(report.queries.completed + report.queries.failed, 40);
        if let Some(latency) = &report.service_time_ms {
            assert!(timeout == "5ms" && latency.max <= 5.0, "{timeout}: {} ms", latency.max);
        }
        for error in &report.errors {
            assert_eq!(error.sqlstate, "57014");
            assert!(error.message.starts_with(&format!("no answer within {}", timeout.replace('u', "µ"))));
        }
    }
}

#[test]
fn a_server_that_ignores_cancel_requests_does_not_stop_the_run() {
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), &rows(&["1ms", "ignore-cancel", "1ms"])).with(&["--timeout", "500ms"]);
    let report = run.local(1).report(14);
    let record = fake.finish();
    assert_counts(&report, 2, 1);
    let [(sqlstate, message, 1, 1, "h0")] = errors(&report)[..] else { panic!("{:?}", report.errors) };
    assert_eq!(sqlstate, "57014");
    assert!(message.contains("the server did not end it within 5s of the cancel"), "{message}");
    // The first cancel may arrive before its query, so another one follows.
    assert!(record.cancelled.len() > 1 && record.cancelled.iter().all(|session| *session == 0));
    assert_eq!(record.executions[2].session, 1);
}

/// Expects that the rows after the lost one run on another connection with the same name.
fn check_lost_connection(script: &str, sqlstate: &str, message: &str) {
    let fake = FakePostgres::start();
    let report = Run::new(&fake.url(), &rows(&["1ms", "1ms", script, "1ms", "1ms"])).local(1).report(14);
    let record = fake.finish();
    assert_counts(&report, 4, 1);
    let [(code, text, 1, 2, "h0")] = errors(&report)[..] else { panic!("{:?}", report.errors) };
    assert_eq!(code, sqlstate);
    assert!(text.contains(message), "{text}");
    let sessions: Vec<_> = record.executions.iter().map(|execution| execution.session).collect();
    assert_eq!(sessions, [0, 0, 0, 1, 1], "the lost row does not run again");
    assert_eq!(record.sessions.len(), 2);
    assert_eq!(record.sessions[0].application_name, record.sessions[1].application_name);
    let latency = report.service_time_ms.unwrap();
    assert!(latency.min >= 1.0, "{latency:?}");
}

#[test]
fn a_connection_that_ends_without_a_message_fails_its_row_and_is_replaced() {
    check_lost_connection("5ms; drop", "08006", "");
}

#[test]
fn a_connection_that_the_server_terminates_fails_its_row_with_the_servers_message() {
    check_lost_connection("5ms; terminate", "57P01", "terminating connection due to administrator command");
}

#[test]
fn a_connection_that_ends_while_idle_fails_no_row() {
    let fake = FakePostgres::start();
    let csv = "hostname,script\nh0,1ms\nh0,1ms\n";
    let run = Run::new(&fake.url(), &[]).with_query(&format!("{QUERY} {FICKLE}"), csv);
    let report = run.local(1).report(0);
    let record = fake.finish();
    assert_counts(&report, 2, 0);
    let sessions: Vec<_> = record.executions.iter().map(|execution| execution.session).collect();
    assert_eq!(sessions, [1, 1]);
}

#[test]
fn a_refused_statement_is_shown_with_a_caret_and_no_row_runs() {
    let fake = FakePostgres::start();
    let query = format!("SELECT answer -- größe\nFROM fake WHERE host = :hostname {NONSENSE} :script");
    let run = Run::new(&fake.url(), &[]).with_query(&query, "hostname,script\nh0,1ms\nh1,1ms\n");
    let finished = run.local(2);
    let record = fake.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{}", finished.stderr);
    let line = format!("LINE 2: FROM fake WHERE host = :hostname {NONSENSE} :script\n");
    let caret = format!("{}^", " ".repeat(line.find(NONSENSE).unwrap()));
    assert!(finished.stderr.contains(&format!("{line}{caret}\n")), "{}", finished.stderr);
    assert!(finished.stderr.contains("syntax error at or near \"nonsense\" (SQLSTATE 42601)"));
    assert!(record.executions.is_empty());
}

#[test]
fn an_unavailable_database_is_named_by_host_and_port() {
    // Bound and not listening, so that no other process gets this port.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = unused.local_addr().unwrap();
    let finished = Run::new(&format!("postgres://u@{address}/db"), &rows(&["1ms"])).local(2);
    drop(unused);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("connect to {address}")), "{}", finished.stderr);
    assert!(finished.stderr.contains("connection refused"), "{}", finished.stderr);
}
