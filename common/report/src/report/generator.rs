//! The health of the load generator: one line in every report, and a table if the verdict is about the load generator.

use crate::result::{Agent, AgentHealth, Cause, Late, ProcessHealth, RunResult};

use super::model::{Block, Note, NoteKind, Section};
use super::table::{TableOf, Unit};
use crate::units::{duration, duration_or_none, share};

const ROWS_MAX: usize = 20;

/// The worst figures of all agents and those of the coordinator; empty if no agent reported its health.
pub(super) fn parts(result: &RunResult) -> Vec<String> {
    let agents: Vec<&AgentHealth> = result.agents.iter().filter_map(|agent| agent.health.as_ref()).collect();
    if agents.is_empty() {
        return Vec::new();
    }
    let worst = |of: &dyn Fn(&AgentHealth) -> Option<f64>| {
        agents.iter().filter_map(|health| of(health)).max_by(f64::total_cmp)
    };
    let mut parts = vec![format!("agents' CPU {}", share(worst(&|health| health.process.cpu_share)))];
    let longest = agents
        .iter()
        .filter_map(|health| health.process.late_ms.as_ref())
        .max_by(|a, b| highest_percentile(a).1.total_cmp(&highest_percentile(b).1));
    if let Some(delay) = longest {
        let (name, delay_ms) = highest_percentile(delay);
        parts.push(format!("scheduling delay {name} {}", duration(delay_ms)));
    }
    parts.push(format!("starved {}", share(worst(&|health| Some(health.starved_share)))));
    let overhead = result.utilization.as_ref().and_then(|used| used.generator_overhead_share);
    parts.extend(overhead.map(|overhead| format!("overhead {}", share(Some(overhead)))));
    let coordinator = result.coordinator_health.as_ref();
    parts.extend(coordinator.map(|health| format!("coordinator {}", share(health.cpu_share))));
    let unavailable = unavailable(&agents);
    if !unavailable.is_empty() {
        parts.push(format!("not available on every agent: {}", unavailable.join(", ")));
    }
    parts
}

/// The figures that the operating system of at least one agent does not provide.
fn unavailable(agents: &[&AgentHealth]) -> Vec<&'static str> {
    type IsAvailable = fn(&ProcessHealth) -> bool;
    let figures: [(&str, IsAvailable); 4] = [
        ("process CPU", |process| process.cpu_share.is_some()),
        ("machine CPU", |process| process.machine_busy_share.is_some()),
        ("steal", |process| process.steal_share.is_some()),
        ("throttling", |process| process.throttled_share.is_some()),
    ];
    let is_missing = |is_available: &IsAvailable| agents.iter().any(|health| !is_available(&health.process));
    figures.iter().filter(|(_, is_available)| is_missing(is_available)).map(|(name, _)| *name).collect()
}

/// A row for each agent process, if a reason of the verdict is about the load generator.
pub(super) fn section(result: &RunResult) -> Option<Section> {
    let mut rows = processes(&result.agents);
    let all = rows.len();
    if rows.is_empty() || !result.verdict.causes.iter().any(is_about_health) {
        return None;
    }
    if all > ROWS_MAX {
        rows.sort_by(|a, b| b.delay_ms().unwrap_or(0.0).total_cmp(&a.delay_ms().unwrap_or(0.0)));
        rows.truncate(ROWS_MAX);
    }
    let table = TableOf::new(&rows)
        .names("slot", |row| &row.slots)
        .numbers("CPU", Unit::Share, |row| row.health.process.cpu_share)
        .numbers("machine", Unit::Share, |row| row.health.process.machine_busy_share)
        .numbers("steal", Unit::Share, |row| row.health.process.steal_share)
        .numbers("throttled", Unit::Share, |row| row.health.process.throttled_share)
        .times("sched. delay", Process::delay_ms)
        .times("max delay", |row| row.health.process.late_ms.as_ref().map(|delay| delay.max))
        .numbers("starved", Unit::Share, |row| Some(row.health.starved_share));
    let mut blocks = vec![Block::Table(table.table())];
    if let Some(delay) = result.coordinator_health.as_ref().and_then(|health| health.late_ms.as_ref()) {
        let about = NoteKind::About("coordinator's event loop".to_owned());
        let text = format!("delay p99 {}, max {}", duration_or_none(delay.p99), duration(delay.max));
        blocks.push(Block::Notes(vec![Note::new(about, text)]));
    }
    let section = Section::new("Generator", blocks).detail();
    let omitted = format!("the {ROWS_MAX} longest scheduling delays of {all} processes (in the JSON: all)");
    Some(if all > ROWS_MAX { section.about(omitted) } else { section })
}

/// A process with the slots of its agents.
struct Process<'a> {
    slots: String,
    name: &'a str,
    health: &'a AgentHealth,
}

impl Process<'_> {
    fn delay_ms(&self) -> Option<f64> {
        self.health.process.late_ms.as_ref().map(|delay| highest_percentile(delay).1)
    }
}

/// With `--local` all agents are one process.
fn processes(agents: &[Agent]) -> Vec<Process<'_>> {
    let mut rows: Vec<Process<'_>> = Vec::new();
    for agent in agents {
        let Some(health) = &agent.health else { continue };
        match rows.last_mut() {
            Some(Process { slots, name, .. }) if *name == agent.name => {
                let first = slots.split(" … ").next().unwrap_or_default();
                *slots = format!("{first} … {}", agent.slot);
            }
            _ => rows.push(Process { slots: agent.slot.clone(), name: &agent.name, health }),
        }
    }
    rows
}

fn is_about_health(cause: &Cause) -> bool {
    match cause {
        Cause::EndedEarly
        | Cause::Resumed
        | Cause::AgentLost
        | Cause::NoDatabase
        | Cause::AllFailed
        | Cause::ServersDiffer
        | Cause::ServerRestarted
        | Cause::ServerRoleChanged
        | Cause::ServerVersionChanged
        | Cause::Reconnected
        | Cause::Disconnected => false,
        Cause::Lag
        | Cause::GeneratorOverhead
        | Cause::AgentThrottled
        | Cause::AgentLate
        | Cause::AgentWaited
        | Cause::AgentStoodStill
        | Cause::AgentBusy
        | Cause::AgentStarved
        | Cause::MachineStolen
        | Cause::CoordinatorLate => true,
    }
}

/// The highest percentile that the sample supports, with its name.
fn highest_percentile(delay: &Late) -> (&'static str, f64) {
    let supported = [("p99", delay.p99), ("p95", delay.p95), ("p90", delay.p90)];
    let first = supported.into_iter().find_map(|(name, value)| Some((name, value?)));
    first.unwrap_or(("median", delay.median))
}
