//! How the load generator fared, for people: one line when all is well, a table when the verdict has something to say of it.

use muster_common::result::{AgentHealth, Cause, Late, ProcessHealth, RunResult};

use super::page::Page;
use super::table::{Align, Table};
use super::units::{NONE, duration, duration_cell, duration_or_none};

const ROWS_MAX: usize = 20;

/// The worst of all agents and the coordinator in a few words each; nothing when nobody told anything.
pub(super) fn parts(result: &RunResult) -> Vec<String> {
    let agents: Vec<&AgentHealth> = result.agents.iter().filter_map(|agent| agent.health.as_ref()).collect();
    if agents.is_empty() {
        return Vec::new();
    }
    let worst = |of: &dyn Fn(&AgentHealth) -> Option<f64>| {
        agents.iter().filter_map(|health| of(health)).max_by(f64::total_cmp)
    };
    let mut parts = vec![format!("agents' CPU {}", percent(worst(&|health| health.process.cpu_share)))];
    let latest = agents
        .iter()
        .filter_map(|health| health.process.late_ms.as_ref())
        .max_by(|a, b| highest(a).1.total_cmp(&highest(b).1));
    if let Some(late) = latest {
        let (name, late_ms) = highest(late);
        parts.push(format!("woken {} late ({name})", duration(late_ms)));
    }
    parts.push(format!("starved {}", percent(worst(&|health| Some(health.starved_share)))));
    if let Some(share) = result.utilization.as_ref().and_then(|used| used.generator_overhead_share) {
        parts.push(format!("overhead {}", percent(Some(share))));
    }
    if let Some(coordinator) = &result.coordinator_health {
        parts.push(format!("coordinator {}", percent(coordinator.cpu_share)));
    }
    let unknown = unknown(&agents);
    if !unknown.is_empty() {
        parts.push(format!("not told by an agent's system: {}", unknown.join(", ")));
    }
    parts
}

fn unknown(agents: &[&AgentHealth]) -> Vec<&'static str> {
    type Known = fn(&ProcessHealth) -> bool;
    let figures: [(&str, Known); 4] = [
        ("its CPU", |process| process.cpu_share.is_some()),
        ("the machine's", |process| process.machine_busy_share.is_some()),
        ("steal", |process| process.steal_share.is_some()),
        ("throttling", |process| process.throttled_share.is_some()),
    ];
    let is_unknown = |known: &Known| agents.iter().any(|health| !known(&health.process));
    figures.iter().filter(|(_, known)| is_unknown(known)).map(|(name, _)| *name).collect()
}

/// A row for each process whose figures the verdict is about.
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
    let late_ms = |health: &AgentHealth| health.process.late_ms.as_ref().map_or(0.0, |late| highest(late).1);
    if all > ROWS_MAX {
        rows.sort_by(|a, b| late_ms(b.2).total_cmp(&late_ms(a.2)));
        rows.truncate(ROWS_MAX);
    }
    page.section(&match all {
        0..=ROWS_MAX => "GENERATOR".to_owned(),
        _ => format!("GENERATOR   the {ROWS_MAX} latest of {all} processes (in the JSON: all)"),
    });
    let mut table = Table::new([
        ("slot", Align::Left),
        ("CPU", Align::Right),
        ("machine", Align::Right),
        ("steal", Align::Right),
        ("held back", Align::Right),
        ("late", Align::Right),
        ("at most", Align::Right),
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
            duration_cell(process.late_ms.as_ref().map(|late| highest(late).1)),
            duration_cell(process.late_ms.as_ref().map(|late| late.max)),
            percent(Some(health.starved_share)),
        ]);
    }
    page.table(&table);
    if let Some(late) = result.coordinator_health.as_ref().and_then(|health| health.late_ms.as_ref()) {
        page.line(&format!(
            "  coordinator's event loop late: {} (p99), {} at most",
            duration_or_none(late.p99),
            duration(late.max)
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

/// The highest percentile that the sample supports.
fn highest(late: &Late) -> (&'static str, f64) {
    let supported = [("p99", late.p99), ("p95", late.p95), ("p90", late.p90)];
    let first = supported.into_iter().find_map(|(name, value)| Some((name, value?)));
    first.unwrap_or(("median", late.median))
}

fn percent(share: Option<f64>) -> String {
    match share {
        None => NONE.to_owned(),
        Some(share) if share < 0.0995 => format!("{:.1} %", share * 100.0),
        Some(share) => format!("{:.0} %", share * 100.0),
    }
}
