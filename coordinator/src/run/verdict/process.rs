//! Groups agents by process. With `--local` all agents are in one process, and findings about a process are reported once.

use std::collections::BTreeMap;

use muster_report::result::{Agent, Latency, ProcessHealth};

use super::Evidence;

pub(super) struct Process<'a> {
    /// By slot; never empty.
    pub(super) agents: Vec<&'a Agent>,
    pub(super) health: &'a ProcessHealth,
    /// Service times of this process's own queries. For a process with several agents, those of all queries, because it has all agents
    /// then.
    pub(super) service: Option<&'a Latency>,
    pub(super) completed: u64,
}

impl Process<'_> {
    /// The slots of its agents, such as `slot-2` or `slot-0 … slot-9`.
    pub(super) fn name(&self) -> String {
        match self.agents.as_slice() {
            [first, .., last] => format!("{} … {}", first.slot, last.slot),
            [only] => only.slot.clone(),
            [] => String::new(),
        }
    }

    /// The share of its queries' time that its workers waited for a processor, and how often they were given one. `None` if the operating
    /// system does not count it.
    pub(super) fn waited(&self) -> Option<(f64, u64)> {
        let run_queues = || self.agents.iter().filter_map(|agent| agent.health.as_ref()?.run_queue.as_ref());
        let in_flight_ms: f64 = run_queues().map(|run_queue| run_queue.in_flight_ms).sum();
        let waited_ms: f64 = run_queues().map(|run_queue| run_queue.share * run_queue.in_flight_ms).sum();
        let turns = run_queues().map(|run_queue| run_queue.turns).sum();
        (in_flight_ms > 0.0).then_some((waited_ms / in_flight_ms, turns))
    }

    /// The machine of its agents, such as `db1` of `db1/4711`.
    pub(super) fn machine(&self) -> &str {
        let name = self.agents.first().map_or("", |agent| &agent.name);
        name.rsplit_once('/').map_or(name, |(machine, _)| machine)
    }
}

/// Groups the agents that have reported their health by process.
pub(super) fn group<'a>(evidence: &Evidence<'a>) -> Vec<Process<'a>> {
    let mut by_name: BTreeMap<&str, Vec<&Agent>> = BTreeMap::new();
    let mut names = Vec::new();
    for agent in evidence.agents.iter().filter(|agent| agent.health.is_some()) {
        let of_process = by_name.entry(&agent.name).or_default();
        if of_process.is_empty() {
            names.push(agent.name.as_str());
        }
        of_process.push(agent);
    }
    let process = |name: &str| {
        let agents = by_name.remove(name)?;
        // All of them measured the same process. The one that measured it longest is used.
        let watched_ms =
            |agent: &&&Agent| agent.health.as_ref().map_or(0.0, |health| health.process.watched_ms);
        let longest = agents.iter().max_by(|a, b| watched_ms(a).total_cmp(&watched_ms(b)))?;
        let health = &longest.health.as_ref()?.process;
        let service = match agents.as_slice() {
            [only] => only.service_time_ms.as_ref(),
            _ => evidence.service,
        };
        let completed = agents.iter().map(|agent| agent.completed).sum();
        Some(Process { agents, health, service, completed })
    };
    names.into_iter().filter_map(process).collect()
}
