//! Agents, workers and hosts of the result.

use muster_core::ids::{SlotId, WorkerId};
use muster_core::limits;
use muster_core::load::Load;
use muster_core::placement::{Assignment, Candidates};
use muster_report::result;

use super::inputs::Inputs;
use crate::run::evidence;
use crate::run::host_samples::HostTally;
use crate::run::record::{Move, Record, Session};
use crate::run::tally::{Tally, WorkerTally};
use crate::run::utilization;
use crate::workload::{HostIndex, HostTable};

/// Each host's worker at the end of the run, by the host's index. Hosts of slots that were given up have moved.
pub(super) fn owners_at_end(
    hosts: &HostTable,
    record: &Record,
    assignment: &Assignment,
    workers: &[WorkerId],
) -> Vec<u32> {
    let mut owners = assignment.workers().to_vec();
    for Move { from, to } in &record.moves {
        let targets: Vec<WorkerId> = to.iter().map(|position| workers[*position]).collect();
        let candidates = Candidates::new(&targets);
        for (host, name, _) in hosts.iter() {
            let owner = &mut owners[host.index()];
            if workers[*owner as usize].slot == *from {
                let position = to[candidates.owner(name) as usize];
                *owner = u32::try_from(position).expect("positions are 32 bits wide");
            }
        }
    }
    owners
}

/// The workers and the agents of the result. `load` is `None` if workers were missing for a time, because then the overhead is unknown.
pub(super) fn per_worker(
    inputs: &Inputs<'_>,
    load: Option<&Load>,
) -> (Vec<result::Worker>, Vec<result::Agent>) {
    let Inputs { record, assignment, tally, latencies, workers: ids, owners, .. } = inputs;
    let placed = assignment.table();
    let passes = tally.passes();
    let mut hosts_at_end = vec![0; ids.len()];
    owners.iter().for_each(|owner| hosts_at_end[*owner as usize] += 1);
    let mut workers = Vec::with_capacity(ids.len());
    let mut agents: Vec<result::Agent> = Vec::new();
    for slot in (0u16..).map(SlotId::new).take(record.workers_of_slot.len()) {
        let mut agent = agent(slot, record);
        for position in record.workers_of(slot) {
            let worker = &tally.workers[position];
            let WorkerTally { times: _, completed, failed, occupied: _ } = worker;
            let summary = latencies.service_of(position..position + 1);
            let placed = &placed.workers[position];
            let queries = match passes.is_endless() {
                // The clock ended the run, so the number of queries was not known in advance.
                true => *completed + *failed,
                false => placed.rows * u64::from(passes.count()) * u64::from(passes.targets()),
            };
            workers.push(result::Worker {
                worker: ids[position].to_string(),
                hosts: placed.hosts,
                queries,
                completed: *completed,
                failed: *failed,
                generator_overhead_ms: load.map(|load| utilization::overhead_ms(worker, load)),
                busy_ms: summary.as_ref().map_or(0.0, |summary| summary.sum_ns as f64 / 1e6),
                service_time_ms: summary.as_ref().map(result::Latency::from),
            });
            agent.hosts += placed.hosts;
            agent.queries += queries;
            agent.completed += *completed;
            agent.failed += *failed;
            agent.hosts_at_end += hosts_at_end[position];
        }
        let summary = latencies.service_of(record.workers_of(slot));
        agent.service_time_ms = summary.as_ref().map(result::Latency::from);
        let busy_ms = summary.as_ref().map_or(0.0, |summary| summary.sum_ns as f64 / 1e6);
        agent.health = evidence::agent_health(record, slot, busy_ms);
        agents.push(agent);
    }
    (workers, agents)
}

/// An agent of the result: a slot with all sessions that ran its rows, in order.
pub(super) fn agent(slot: SlotId, record: &Record) -> result::Agent {
    let ran = |session: &&Session| session.grant.slot == slot && session.offset_ns.is_some();
    let sessions: Vec<&Session> = record.sessions.iter().filter(ran).collect();
    let last = sessions.last();
    let lost = |session: &Session| session.lost.as_ref().map(|loss| loss.reason.clone());
    result::Agent {
        slot: slot.to_string(),
        name: last.map(|last| last.name()).unwrap_or_default(),
        version: last.map(|last| last.version.clone()).unwrap_or_default(),
        workers: record.workers_of(slot).len() as u64,
        hosts: 0,
        queries: 0,
        completed: 0,
        failed: 0,
        service_time_ms: None,
        lost: last.and_then(|last| lost(last)),
        hosts_at_end: 0,
        sessions: sessions
            .iter()
            .map(|session| result::Session {
                epoch: session.grant.epoch.get(),
                name: session.name(),
                lost: lost(session),
            })
            .collect(),
        health: None,
    }
}

/// The hosts by mean service time, slowest first; those without a completed query last.
pub(super) fn per_host(
    hosts: &HostTable,
    tally: &Tally,
    owners: &[u32],
    workers: &[WorkerId],
) -> Vec<result::Host> {
    let mean_ns =
        |host: &HostTally| (host.timed > 0).then(|| host.service_time_sum_ns as f64 / f64::from(host.timed));
    let has_run = |host: &HostTally| host.completed + host.failed > 0;
    let mut order: Vec<HostIndex> = hosts
        .iter()
        .map(|(index, _, _)| index)
        .filter(|index| has_run(&tally.hosts[index.index()]))
        .collect();
    order.sort_by(|a, b| {
        let of = |index: &HostIndex| mean_ns(&tally.hosts[index.index()]).unwrap_or(-1.0);
        of(b).total_cmp(&of(a))
    });
    let row = |index: HostIndex| {
        let host = &tally.hosts[index.index()];
        result::Host {
            host: hosts.name(index).to_owned(),
            worker: workers[owners[index.index()] as usize].to_string(),
            completed: host.completed.into(),
            failed: host.failed.into(),
            mean_ms: mean_ns(host).map(|ns| ns / 1e6),
            max_ms: (host.timed > 0).then(|| host.service_time_max_ns as f64 / 1e6),
        }
    };
    order.into_iter().take(limits::HOSTS_REPORTED).map(row).collect()
}
