//! Tests of servers and broken connections.

use std::collections::BTreeMap;

use muster_core::server_identity::{Reconnects, Role, ServerIdentity};
use muster_report::result::Cause;

use super::reached::measured;
use super::{Broken, Change, broken, changes, was_connected};
use crate::run::record::{Fact, Found, Record};

const T1: &str = "2026-11-30T12:00:00.000000Z";
const T2: &str = "2026-11-30T12:01:00.000000Z";

fn server(port: u16, id: &str, start: &str) -> ServerIdentity {
    ServerIdentity {
        address: format!("10.0.0.1:{port}"),
        system_identifier: Some(id.to_owned()),
        started_at: Some(start.to_owned()),
        role: Some(Role::Primary),
        server_version: "16.4".to_owned(),
        database: "db".to_owned(),
        timescaledb: Some("2.17.1".to_owned()),
    }
}

/// Adds an agent that runs rows for each server.
fn record(servers: &[ServerIdentity]) -> Record {
    let mut record = Record::default();
    for (slot, server) in (0..).zip(servers) {
        let epoch = u64::from(slot) + 1;
        let (machine, version) = ("db1".to_owned(), "0.1.0".to_owned());
        record.apply(Fact::Joined {
            slot,
            epoch,
            machine,
            process_id: 1,
            instance: epoch,
            version,
            workers: 1,
        });
        let found = Found {
            connect_ns: Vec::new(),
            prepare_ns: Vec::new(),
            server_version: "16.4".to_owned(),
            timescaledb: None,
            settings: BTreeMap::new(),
            identities: vec![server.clone()],
            sql: String::new(),
            bucket_function: None,
            versus: None,
            results: Vec::new(),
            is_pooled: false,
        };
        record.apply(Fact::Ready { epoch, found: Box::new(found) });
        record.apply(Fact::Began { slot, epoch, offset_ns: 0 });
    }
    record
}

fn reconnected(epoch: u64, server: ServerIdentity, count: u64, is_counted: bool) -> Fact {
    let reconnects = Reconnects { target: 0, server, count, outage_max_ns: count * 1_000_000_000 };
    Fact::Reconnected { epoch, reconnects: Box::new(reconnects), is_counted }
}

#[track_caller]
fn check(record: &Record, expected: &[Cause]) -> Vec<String> {
    let changes = changes(record, |session| session.offset_ns.is_some());
    assert_eq!(changes.iter().map(|change| change.cause).collect::<Vec<_>>(), expected, "{changes:?}");
    changes.into_iter().map(|Change { what, remedy, .. }| format!("{what}; {remedy}")).collect()
}

#[test]
fn agents_on_one_server_cause_no_change() {
    let record = record(&[server(1, "1", T1), server(1, "1", T1)]);
    check(&record, &[]);
    assert_eq!(measured(&record, 0).len(), 1);
    assert!(measured(&record, 1).is_empty());
}

#[test]
fn a_connection_that_an_agent_closed_itself_was_not_always_connected() {
    let mut record = record(&[server(1, "1", T1)]);
    assert!(was_connected(&record));
    record.apply(reconnected(1, server(1, "1", T1), 0, true));
    assert!(!was_connected(&record) && broken(&record) == Broken::default());
}

#[test]
fn two_servers_are_named_with_their_agents() {
    let reasons = check(
        &record(&[server(1, "1", T1), server(2, "2", T1), server(1, "1", T1)]),
        &[Cause::ServersDiffer],
    );
    assert_eq!(
        reasons,
        ["connections of the run lead to different servers: db on 10.0.0.1:1 (primary, started \
          2026-11-30T12:00:00.000000Z, system identifier 1) and db on 10.0.0.1:2 (primary, started \
          2026-11-30T12:00:00.000000Z, system identifier 2); slot-0, slot-2 reached the first, slot-1 the other: the figures are a \
          mixture of both; give every agent an address that leads to the same server"]
    );
}

#[test]
fn a_restart_is_one_change_for_any_number_of_agents() {
    let mut record = record(&vec![server(1, "1", T1); 1_000]);
    for epoch in 1..=1_000 {
        record.apply(reconnected(epoch, server(1, "1", T2), 1, true));
    }
    let reasons = check(&record, &[Cause::ServerRestarted]);
    assert!(
        reasons[0].starts_with(
            "the server at 10.0.0.1:1 was restarted: it started at 2026-11-30T12:00:00.000000Z, and again at 2026"
        ),
        "{reasons:?}"
    );
    let broken = broken(&record);
    assert_eq!(
        broken.reconnected().unwrap(),
        "1,000 broken connections to the database were opened again; the longest outage took 1.00 s"
    );
}

#[test]
fn restarts_are_reported_in_order_of_time() {
    let third = "2026-11-30T12:02:00.000000Z";
    let mut record = record(&[server(1, "1", T1), server(1, "1", third)]);
    record.apply(reconnected(1, server(1, "1", T2), 1, true));
    let reasons = check(&record, &[Cause::ServerRestarted, Cause::ServerRestarted]);
    assert!(reasons[0].contains(&format!("{T1}, and again at {T2}")), "{reasons:?}");
    assert!(reasons[1].contains(&format!("{T2}, and again at {third}")), "{reasons:?}");
}

#[test]
fn a_broken_connection_is_not_a_change_of_the_server() {
    let mut record = record(&[server(1, "1", T1)]);
    record.apply(reconnected(1, server(1, "1", T1), 3, true));
    check(&record, &[]);
    assert_eq!(broken(&record).to_result().count, 3);
}

#[test]
fn a_promotion_and_an_update_are_changes() {
    let promoted = ServerIdentity { role: Some(Role::Standby), ..server(1, "1", T1) };
    let mut record = record(&[promoted]);
    let updated = ServerIdentity { timescaledb: Some("2.18.0".to_owned()), ..server(1, "1", T1) };
    record.apply(reconnected(1, updated, 1, true));
    let reasons = check(&record, &[Cause::ServerRoleChanged, Cause::ServerVersionChanged]);
    assert!(
        reasons[0].starts_with("the server at 10.0.0.1:1 changed from standby to primary;"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].starts_with("the version of TimescaleDB at 10.0.0.1:1 changed from 2.17.1 to 2.18.0;"),
        "{reasons:?}"
    );
}

#[test]
fn a_restart_before_rows_count_is_not_a_change() {
    let mut record = record(&[server(1, "1", T1)]);
    record.apply(reconnected(1, server(1, "1", T2), 1, false));
    check(&record, &[]);
    assert_eq!(broken(&record), Broken::default());
    assert_eq!(measured(&record, 0)[0].states, [&server(1, "1", T2)]);
    record.apply(reconnected(1, server(1, "1", T1), 1, true));
    record.apply(Fact::Confirming { rate: 1.0, lasts_ms: 1.0 });
    assert_eq!(broken(&record), Broken::default());
    check(&record, &[]);
}

#[test]
fn an_unidentified_server_is_not_another_server() {
    let unknown = ServerIdentity { address: "192.168.0.1:5432".to_owned(), ..ServerIdentity::default() };
    let mut record = record(&[unknown.clone(), server(1, "1", T1)]);
    check(&record, &[]);
    record.apply(reconnected(2, unknown, 1, true));
    check(&record, &[]);
    assert_eq!(measured(&record, 0)[0].states, [&server(1, "1", T1)]);
}

#[test]
fn connections_that_stay_broken_are_counted() {
    let mut record = record(&[server(1, "1", T1)]);
    let disconnected_max_ns = 2_000_000_000;
    record.apply(Fact::Reported { epoch: 1, disconnected: 2, disconnected_max_ns });
    assert_eq!(
        broken(&record).still_broken().unwrap(),
        "2 connections to the database were broken at the end of the run, the longest for 2.00 s"
    );
}
