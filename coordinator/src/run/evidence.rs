//! From the record of a run to what its verdict is made from, and to how its processes fared.

use muster_common::health::Sum;
use muster_common::ids::SlotId;
use muster_common::result::{Agent, AgentHealth, Ending, Latency, ProcessHealth, Utilization, Verdict};

use super::record::{Loss, Record, Session};
use super::servers;
use super::verdict::{Evidence, Lost, judge};

/// What the result knows when its verdict is due.
pub(crate) struct Known<'a> {
    pub(crate) ending: Ending,
    pub(crate) agents: &'a [Agent],
    pub(crate) coordinator: Option<&'a ProcessHealth>,
    pub(crate) has_embedded_server: bool,
    /// Completed and failed.
    pub(crate) queries: [u32; 2],
    pub(crate) service: Option<&'a Latency>,
    /// See [`Evidence::generator_delay`].
    pub(crate) generator_delay: Option<&'a Latency>,
    pub(crate) overhead: Option<&'a Utilization>,
}

pub(crate) fn verdict(record: &Record, known: &Known<'_>) -> Verdict {
    let Known {
        ending,
        agents,
        coordinator,
        has_embedded_server,
        queries,
        service,
        generator_delay,
        overhead,
    } = *known;
    let lost = record.lost_while_running().map(|(session, Loss { reason, .. })| Lost {
        slot: session.grant.slot.to_string(),
        reason,
        machine: &session.machine,
    });
    let is_unasked = |session: &&Session| {
        session.offset_ns.is_some() && session.found.as_ref().is_some_and(|found| found.is_no_database())
    };
    let unasked = record.sessions.iter().filter(is_unasked);
    judge(&Evidence {
        ending,
        resumed: record.resumed,
        lost: lost.collect(),
        unasked: unasked.map(|session| session.grant.slot.to_string()).collect(),
        agents,
        coordinator,
        has_embedded_server,
        queries,
        servers: servers::changes(record, |session| session.offset_ns.is_some()),
        broken: servers::broken(record),
        service,
        generator_delay,
        overhead,
    })
}

/// Of everybody who ran a slot's rows; their queries took `busy_ms` altogether.
pub(crate) fn agent_health(record: &Record, slot: SlotId, busy_ms: f64) -> Option<AgentHealth> {
    let of_slot = |session: &&Session| session.grant.slot == slot && session.offset_ns.is_some();
    let sums = record.sessions.iter().filter(of_slot).filter_map(|session| session.health.as_ref());
    merged(sums).map(|sum| sum.of_agent(busy_ms))
}

/// Of every process that coordinated the run.
pub(crate) fn coordinator_health(record: &Record) -> Option<ProcessHealth> {
    merged(&record.coordinators).as_ref().map(ProcessHealth::from)
}

fn merged<'a>(sums: impl IntoIterator<Item = &'a Sum>) -> Option<Sum> {
    sums.into_iter().filter(|sum| sum.time_ns > 0).fold(None, |merged, sum| {
        let mut merged = merged.unwrap_or_else(Sum::default);
        merged.merge(sum);
        Some(merged)
    })
}
