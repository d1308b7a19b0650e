//! The servers that a run's connections reached. With several servers, or one server in several states, the figures are a mixture. Pure.

use std::collections::BTreeSet;

use muster_common::ids::SlotId;
use muster_common::limits;
use muster_common::result::{self, Cause};
use muster_common::server_identity::ServerIdentity;

use super::record::{Disconnected, Record, Session};
use crate::output::units::{counted, duration};

/// The first database of a run and the second one.
const TARGETS: [u16; 2] = [0, 1];
/// The maximum number of slots that a message names.
const SLOTS_NAMED_MAX: usize = 6;

/// One server, with every state in which connections found it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Server<'a> {
    /// At least one state, ordered by the start of the postmaster.
    pub(crate) states: Vec<&'a ServerIdentity>,
    slots: BTreeSet<SlotId>,
}

/// A difference between the servers of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) cause: Cause,
    /// A sentence about the servers only. It does not change when more connections reach them.
    pub(crate) what: String,
    /// The affected agents and the remedy.
    pub(crate) remedy: String,
}

/// Connections that broke during the rows that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Broken {
    /// The number of connections that were reopened.
    pub(crate) reconnects: u64,
    /// The longest time for which one of these was broken.
    pub(crate) outage_max_ns: u64,
    /// The number of connections that were still broken at the end.
    pub(crate) disconnected: u64,
    /// The longest time for which one of these was broken.
    pub(crate) disconnected_max_ns: u64,
}

/// The servers of one of the run's databases, in the order in which they were reached. Only sessions that `wants` accepts are included.
pub(crate) fn reached(record: &Record, target: u16, wants: impl Fn(&Session) -> bool) -> Vec<Server<'_>> {
    let sessions = || record.sessions.iter().filter(|session| wants(session));
    let at_first = sessions()
        .flat_map(|session| session.identities(target).iter().map(|identity| (identity, session.grant.slot)));
    let later = sessions().flat_map(|session| {
        let of_target = session.reconnects.iter().filter(|reconnects| reconnects.target == target);
        of_target.map(|reconnects| (&reconnects.server, session.grant.slot))
    });
    let mut identities: Vec<(&ServerIdentity, SlotId)> = at_first.chain(later).collect();
    // A connection whose server could not be identified does not count as another server.
    if identities.iter().any(|(identity, _)| identity.is_known()) {
        identities.retain(|(identity, _)| identity.is_known());
    }
    let mut servers: Vec<Server<'_>> = Vec::new();
    for (identity, slot) in identities {
        add(&mut servers, identity, slot);
    }
    // The connection that reads the server's counters is not measured. It only adds states of servers that were measured.
    let snapshots = record.server.before.iter().chain(&record.server.after).filter(|_| target == 0);
    for identity in snapshots.filter_map(|snapshot| snapshot.identity.as_ref()) {
        if let Some(server) = same(&mut servers, identity) {
            server.add(identity);
        }
    }
    servers
}

/// The servers of sessions that ran rows.
pub(crate) fn measured(record: &Record, target: u16) -> Vec<Server<'_>> {
    reached(record, target, |session| session.offset_ns.is_some())
}

fn add<'a>(servers: &mut Vec<Server<'a>>, identity: &'a ServerIdentity, slot: SlotId) {
    let is_full = servers.len() >= limits::SERVERS_MAX;
    match same(servers, identity) {
        Some(server) => {
            server.add(identity);
            server.slots.insert(slot);
        }
        None if !is_full => {
            servers.push(Server { states: vec![identity], slots: BTreeSet::from([slot]) });
        }
        None => {}
    }
}

fn same<'s, 'a>(servers: &'s mut [Server<'a>], identity: &ServerIdentity) -> Option<&'s mut Server<'a>> {
    servers.iter_mut().find(|server| server.states.iter().any(|state| state.is_same_server(identity)))
}

impl<'a> Server<'a> {
    fn first(&self) -> &'a ServerIdentity {
        self.states[0]
    }

    /// The server's agents by slot. Only the first few are named.
    fn agents(&self) -> String {
        let mut names: Vec<String> =
            self.slots.iter().take(SLOTS_NAMED_MAX).map(ToString::to_string).collect();
        if let Some(more) = self.slots.len().checked_sub(SLOTS_NAMED_MAX).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    }

    fn add(&mut self, identity: &'a ServerIdentity) {
        if self.states.len() < limits::SERVERS_MAX && !self.states.contains(&identity) {
            self.states.push(identity);
            // Ordered by start, then by the order in which they were reached.
            self.states.sort_by(|one, other| one.started_at.cmp(&other.started_at));
        }
    }
}

/// Differences between the servers of each database. Only sessions that `wants` accepts are included.
pub(crate) fn changes(record: &Record, wants: impl Fn(&Session) -> bool) -> Vec<Change> {
    TARGETS.into_iter().flat_map(|target| of_target(&reached(record, target, &wants), target)).collect()
}

fn of_target(servers: &[Server<'_>], target: u16) -> Vec<Change> {
    let of = if target == 0 { "" } else { " as the second database (--versus)" };
    let mut changes = Vec::new();
    if let [first, others @ ..] = servers {
        for other in others {
            changes.push(Change {
                cause: Cause::ServersDiffer,
                what: format!("connections of the run lead to different servers{of}: {} and {}", first.first(), other.first()),
                remedy: format!(
                    "{} reached the first, {} the other: the figures are a mixture of both; give every agent an address that leads \
                     to the same server",
                    first.agents(),
                    other.agents()
                ),
            });
        }
    }
    for server in servers {
        for [one, other] in server.states.array_windows() {
            changes.extend(between(one, other));
        }
    }
    changes
}

/// Changes from one state of a server to the next.
fn between(one: &ServerIdentity, other: &ServerIdentity) -> Vec<Change> {
    let address = &other.address;
    let change = |cause, what: String, parts: &str| Change {
        cause,
        what,
        remedy: format!("the run covers different {parts}; repeat the run without changing the server"),
    };
    let mut changes = Vec::new();
    if let (Some(one), Some(other)) = (&one.started_at, &other.started_at)
        && one != other
    {
        let what =
            format!("the server at {address} was restarted: it started at {one}, and again at {other}");
        changes.push(change(Cause::ServerRestarted, what, "states of the server"));
    }
    if let (Some(one), Some(other)) = (one.role, other.role)
        && one != other
    {
        let what = format!("the server at {address} changed from {one} to {other}");
        changes.push(change(Cause::ServerRoleChanged, what, "states of the server"));
    }
    let versions = [
        ("PostgreSQL", known(&one.server_version), known(&other.server_version)),
        ("TimescaleDB", one.timescaledb.as_deref(), other.timescaledb.as_deref()),
    ];
    for (product, one, other) in versions {
        if one != other {
            let [one, other] = [one, other].map(|version| version.unwrap_or("none"));
            let what = format!("the version of {product} at {address} changed from {one} to {other}");
            changes.push(change(Cause::ServerVersionChanged, what, "versions of the server"));
        }
    }
    changes
}

fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Broken connections of the sessions that ran rows.
pub(crate) fn broken(record: &Record) -> Broken {
    let mut broken = Broken::default();
    for session in record.sessions.iter().filter(|session| session.offset_ns.is_some()) {
        for reconnects in &session.reconnects {
            broken.reconnects = broken.reconnects.saturating_add(reconnects.count);
            broken.outage_max_ns = broken.outage_max_ns.max(reconnects.outage_max_ns);
        }
        let Disconnected { count, outage_max_ns } = session.disconnected;
        broken.disconnected = broken.disconnected.saturating_add(count);
        broken.disconnected_max_ns = broken.disconnected_max_ns.max(outage_max_ns);
    }
    broken
}

/// Returns true if every connection that ran rows was open from the start to the end.
pub(crate) fn was_connected(record: &Record) -> bool {
    let mut ran = record.sessions.iter().filter(|session| session.offset_ns.is_some());
    ran.all(|session| session.reconnects.is_empty() && session.disconnected.count == 0)
}

/// Adds the identities of the measured servers to the database of the result.
pub(super) fn describe(database: result::Database, record: &Record, target: u16) -> result::Database {
    let mut states = measured(record, target).into_iter().flat_map(|server| server.states).cloned();
    let identity = states.next();
    result::Database { identity, other_identities: states.collect(), ..database }
}

/// States that both databases of a run are the same.
pub(super) fn same_twice(record: &Record) -> Option<String> {
    let [first, second] = TARGETS.map(|target| measured(record, target));
    let (first, second) = (first.first()?.first(), second.first()?.first());
    let is_same = first.is_known() && first.is_same_server(second);
    is_same.then(|| format!("both databases of this run (--versus) are the same one: {first} and {second}"))
}

impl Broken {
    pub(crate) fn to_result(self) -> result::Reconnects {
        result::Reconnects {
            count: self.reconnects,
            outage_max_ms: (self.reconnects > 0).then(|| milliseconds(self.outage_max_ns)),
            disconnected: self.disconnected,
        }
    }

    /// A sentence such as `3 broken connections to the database were opened again; the longest outage took 3.10 s`. `None` if there are
    /// none.
    pub(crate) fn reconnected(&self) -> Option<String> {
        let count = counted(self.reconnects, "broken connection");
        let were = if self.reconnects == 1 { "was" } else { "were" };
        let outage = duration(milliseconds(self.outage_max_ns));
        (self.reconnects > 0)
            .then(|| format!("{count} to the database {were} opened again; the longest outage took {outage}"))
    }

    /// The same for connections that were not reopened.
    pub(crate) fn still_broken(&self) -> Option<String> {
        let count = counted(self.disconnected, "connection");
        let were = if self.disconnected == 1 { "was" } else { "were" };
        let outage = duration(milliseconds(self.disconnected_max_ns));
        (self.disconnected > 0).then(|| {
            format!("{count} to the database {were} broken at the end of the run, the longest for {outage}")
        })
    }
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_common::server_identity::{Reconnects, Role};

    use super::*;
    use crate::run::record::{Fact, Found};

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
}
