//! The health of the load generator: one line in every report, and a table if the verdict is about the load generator.

use muster_common::result::{AgentHealth, Cause, Late, ProcessHealth, RunResult};

use super::page::Page;
use super::table::{Align, Table};
use super::units::{NONE, duration, duration_cell, duration_or_none};

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
    let mut parts = vec![format!("agents' CPU {}", percent(worst(&|health| health.process.cpu_share)))];
    let longest = agents
        .iter()
        .filter_map(|health| health.process.late_ms.as_ref())
        .max_by(|a, b| highest_percentile(a).1.total_cmp(&highest_percentile(b).1));
    if let Some(delay) = longest {
        let (name, delay_ms) = highest_percentile(delay);
        parts.push(format!("scheduling delay {name} {}", duration(delay_ms)));
    }
    parts.push(format!("starved {}", percent(worst(&|health| Some(health.starved_share)))));
    if let Some(share) = result.utilization.as_ref().and_then(|used| used.generator_overhead_share) {
        parts.push(format!("overhead {}", percent(Some(share))));
    }
    if let Some(coordinator) = &result.coordinator_health {
        parts.push(format!("coordinator {}", percent(coordinator.cpu_share)));
    }
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
pub(super) fn table(page: &mut Page, result: &RunResult) {
    if !result.verdict.causes.iter().any(is_about_health) {
        return;
    }
    let mut rows: Vec<(String, &str, &AgentHealth)> = Vec::new();
    for agent in &result.agents {
        let Some(health) = &agent.health else { continue };
        match rows.last_mut() {
            // With --local all agents are one process.
            Some((slots, name, _)) if *name == agent.name => {
                let first = slots.split(" … ").next().unwrap_or_default();
                *slots = format!("{first} … {}", agent.slot);
            }
            _ => rows.push((agent.slot.clone(), &agent.name, health)),
        }
    }
    if rows.is_empty() {
        return;
    }
    let all = rows.len();
    let delay_ms = |health: &AgentHealth| {
        health.process.late_ms.as_ref().map_or(0.0, |delay| highest_percentile(delay).1)
    };
    if all > ROWS_MAX {
        rows.sort_by(|a, b| delay_ms(b.2).total_cmp(&delay_ms(a.2)));
        rows.truncate(ROWS_MAX);
    }
    page.section(&match all {
        0..=ROWS_MAX => "GENERATOR".to_owned(),
        _ => format!(
            "GENERATOR   the {ROWS_MAX} longest scheduling delays of {all} processes (in the JSON: all)"
        ),
    });
    let mut table = Table::new([
        ("slot", Align::Left),
        ("CPU", Align::Right),
        ("machine", Align::Right),
        ("steal", Align::Right),
        ("throttled", Align::Right),
        ("sched. delay", Align::Right),
        ("max delay", Align::Right),
        ("starved", Align::Right),
    ]);
    for (slots, _, health) in rows {
        let process = &health.process;
        table.row([
            slots,
            percent(process.cpu_share),
            percent(process.machine_busy_share),
            percent(process.steal_share),
            percent(process.throttled_share),
            duration_cell(process.late_ms.as_ref().map(|delay| highest_percentile(delay).1)),
            duration_cell(process.late_ms.as_ref().map(|delay| delay.max)),
            percent(Some(health.starved_share)),
        ]);
    }
    page.table(&table);
    if let Some(delay) = result.coordinator_health.as_ref().and_then(|health| health.late_ms.as_ref()) {
        page.line(&format!(
            "  coordinator's event loop: delay p99 {}, max {}",
            duration_or_none(delay.p99),
            duration(delay.max)
        ));
    }
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

fn percent(share: Option<f64>) -> String {
    match share {
        None => NONE.to_owned(),
        Some(share) if share < 0.0995 => format!("{:.1} %", share * 100.0),
        Some(share) => format!("{:.0} %", share * 100.0),
    }
}
