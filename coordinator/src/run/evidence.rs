//! Derives from the record of a run the evidence for its verdict and the health of its processes.

use muster_core::health::HealthTotals;
use muster_core::ids::SlotId;
use muster_report::result::{Agent, AgentHealth, Ending, Latency, ProcessHealth, Utilization, Verdict};

use super::record::{Loss, Record, Session};
use super::servers;
use super::verdict::{Evidence, Lost, judge};

/// The parts of the result that the verdict needs.
pub(crate) struct VerdictInput<'a> {
    pub(crate) ending: Ending,
    pub(crate) agents: &'a [Agent],
    pub(crate) coordinator: Option<&'a ProcessHealth>,
    pub(crate) has_embedded_server: bool,
    /// The numbers of completed and failed queries.
    pub(crate) queries: [u32; 2],
    pub(crate) service: Option<&'a Latency>,
    /// See [`Evidence::generator_delay`].
    pub(crate) generator_delay: Option<&'a Latency>,
    pub(crate) overhead: Option<&'a Utilization>,
}

pub(crate) fn verdict(record: &Record, input: &VerdictInput<'_>) -> Verdict {
    let VerdictInput {
        ending,
        agents,
        coordinator,
        has_embedded_server,
        queries,
        service,
        generator_delay,
        overhead,
    } = *input;
    let lost = record.lost_while_running().map(|(session, Loss { reason, .. })| Lost {
        slot: session.grant.slot.to_string(),
        reason,
        machine: &session.machine,
    });
    let has_null_database = |session: &&Session| {
        session.offset_ns.is_some() && session.found.as_ref().is_some_and(|found| found.is_no_database())
    };
    let null_database = record.sessions.iter().filter(has_null_database);
    judge(&Evidence {
        ending,
        resumed: record.resumed,
        lost: lost.collect(),
        null_database_slots: null_database.map(|session| session.grant.slot.to_string()).collect(),
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

/// The health of all agents that ran a slot's rows. Their queries took `busy_ms` in total.
pub(crate) fn agent_health(record: &Record, slot: SlotId, busy_ms: f64) -> Option<AgentHealth> {
    let of_slot = |session: &&Session| session.grant.slot == slot && session.offset_ns.is_some();
    let totals = record.sessions.iter().filter(of_slot).filter_map(|session| session.health.as_ref());
    merged(totals).map(|totals| AgentHealth::of(&totals, busy_ms))
}

/// The health of all coordinator processes of the run.
pub(crate) fn coordinator_health(record: &Record) -> Option<ProcessHealth> {
    merged(&record.coordinators).as_ref().map(ProcessHealth::from)
}

fn merged<'a>(all: impl IntoIterator<Item = &'a HealthTotals>) -> Option<HealthTotals> {
    all.into_iter().filter(|totals| totals.time_ns > 0).fold(None, |merged, totals| {
        let mut merged = merged.unwrap_or_else(HealthTotals::default);
        merged.merge(totals);
        Some(merged)
    })
}
