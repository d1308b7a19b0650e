//! The servers that a run's connections reached. With several servers, or one server in several states, the figures are a mixture. Pure.

use std::collections::BTreeSet;

use muster_core::ids::SlotId;
use muster_core::limits;
use muster_core::server_identity::ServerIdentity;
use muster_report::result::{self, Cause};

use crate::run::record::{Record, Session};

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

/// Adds the identities of the measured servers to the database of the result.
pub(crate) fn describe(database: result::Database, record: &Record, target: u16) -> result::Database {
    let mut states = measured(record, target).into_iter().flat_map(|server| server.states).cloned();
    let identity = states.next();
    result::Database { identity, other_identities: states.collect(), ..database }
}

/// States that both databases of a run are the same.
pub(crate) fn same_twice(record: &Record) -> Option<String> {
    let [first, second] = TARGETS.map(|target| measured(record, target));
    let (first, second) = (first.first()?.first(), second.first()?.first());
    let is_same = first.is_known() && first.is_same_server(second);
    is_same.then(|| format!("both databases of this run (--versus) are the same one: {first} and {second}"))
}
