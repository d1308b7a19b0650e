//! Findings about the agents. Each rule checks one process and returns whether it applies, its severity, and the message. If a rule applies
//! to several processes, the worst is named and the others are counted.

use muster_core::limits;
use muster_report::result::Cause;

use muster_report::units::duration;

use super::process::Process;
use super::scheduling_delay::{self, Comparison, SchedulingDelay};
use super::{Evidence, Finding, percent};

/// Maximum share of its available CPU that an agent may use on average over the run.
const CPU_SHARE_MAX: f64 = limits::CPU_SHARE_MAX_PER_MILLE as f64 / 1e3;
/// The time in which an agent may exceed that share: the larger of this share of the run and the following time.
const CPU_HOT_SHARE: f64 = 0.05;
const CPU_HOT_MS: f64 = 2_000.0;
/// The CPU share of each agent that the recommended number of agents would have.
const CPU_SHARE_WANTED: f64 = 0.7;
/// Maximum share of the queries' time in which workers waited for a processor. In measurements, queries of some milliseconds and more had 2
/// to 8 % on an idle machine, and 12 to 15 % with competing busy loops. The shortest ones had 40 to 98 % with busy loops, but no less when
/// agents and server alone used both processors of a machine. The value is an upper bound: the kernel does not distinguish waits within a
/// query from those before the next one or from those while the server works. Therefore a run is void only if this is most of its times.
const WAITED_SHARE_MAX: f64 = 0.1;
const WAITED_SHARE_VOID: f64 = 0.5;
/// With fewer turns on a processor, a single long wait is a large part of the total.
const WAITED_TURNS_MIN: u64 = 500;
/// If an agent is throttled for more than a hundredth of the time, the quota affects the p99.
const THROTTLED_SHARE_MAX: f64 = 0.01;
const STEAL_SHARE_MAX: f64 = 0.05;
/// Minimum time for a finding about steal: the kernel counts it in hundredths of a second, which is too coarse for shorter times.
const STEAL_MS_MIN: f64 = 1_000.0;
const STARVED_SHARE_MAX: f64 = 0.01;
/// At the start of a run few rows are sent at a time, until the speed of each worker is known.
const STARVED_MS_MAX: f64 = 100.0;
/// A condition that affected a smaller share of the rows cannot affect the p99 of the run.
const VOID_ROWS_SHARE: f64 = 0.01;

type Rule = fn(&Evidence<'_>, &[Process<'_>]) -> Option<Finding>;

/// A rule that applies to a process.
struct Hit<'p, 'a> {
    process: &'p Process<'a>,
    is_void: bool,
    /// The severity: higher is worse.
    measure: f64,
}

pub(super) fn findings(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Vec<Finding> {
    let rules: [Rule; 7] = [throttled, delayed, waited, paused, busy, starved, stolen];
    rules.into_iter().filter_map(|rule| rule(evidence, processes)).collect()
}

/// The hits of a rule, the worst first. Hits that would void the run only do so if they affected enough rows.
fn hits<'p, 'a>(
    processes: &'p [Process<'a>],
    rule: impl Fn(&Process<'a>) -> Option<(bool, f64)>,
) -> Vec<Hit<'p, 'a>> {
    let hit = |process| rule(process).map(|(is_void, measure)| Hit { process, is_void, measure });
    let mut hits: Vec<Hit<'_, '_>> = processes.iter().filter_map(hit).collect();
    let rows =
        |hits: &mut dyn Iterator<Item = &Process<'_>>| hits.map(|process| process.completed).sum::<u64>();
    let all = rows(&mut processes.iter());
    let void = rows(&mut hits.iter().filter(|hit| hit.is_void).map(|hit| hit.process));
    if void as f64 <= VOID_ROWS_SHARE * all as f64 {
        hits.iter_mut().for_each(|hit| hit.is_void = false);
    }
    hits.sort_by(|a, b| b.is_void.cmp(&a.is_void).then(b.measure.total_cmp(&a.measure)));
    hits
}

/// The agents of the hits, such as `slot-2` or `slot-2 (and 3 other agents)`.
fn names(hits: &[Hit<'_, '_>]) -> String {
    let Some((worst, others)) = hits.split_first() else { return String::new() };
    let others: usize = others.iter().map(|hit| hit.process.agents.len()).sum();
    match others {
        0 => worst.process.name(),
        1 => format!("{} (and one other agent)", worst.process.name()),
        _ => format!("{} (and {others} other agents)", worst.process.name()),
    }
}

/// The share of time in which a process was throttled, if it is above the maximum. A quota explains why a process is delayed, busy or
/// starved, and it has one remedy, so the other rules ignore throttled processes.
fn throttled_share(process: &Process<'_>) -> Option<f64> {
    process.health.throttled_share.filter(|share| *share > THROTTLED_SHARE_MAX)
}

/// The number of additional agents that are needed is unknown, because the CPU demand of a throttled process is not known.
fn throttled(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| Some((!evidence.has_embedded_server, throttled_share(process)?)));
    let worst = hits.first()?;
    let remedy = if evidence.has_embedded_server {
        "the embedded server is under the same limit and was throttled, too; raise it, or use a database on another machine"
    } else {
        "its times reflect this limit; raise it, or add agents with separate limits"
    };
    let reason = format!(
        "{} was throttled by its CPU limit ({} processors) for {} of the time: {remedy}",
        names(&hits),
        cores(worst.process),
        percent(worst.measure),
    );
    Some(Finding { cause: Cause::AgentThrottled, is_void: worst.is_void, reason })
}

fn delayed(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let compare = |process: &Process<'_>| {
        if throttled_share(process).is_some() {
            return None;
        }
        let (delay, service) = (process.health.late_ms.as_ref()?, process.service?);
        match scheduling_delay::compare(delay, service) {
            SchedulingDelay::Fine => None,
            SchedulingDelay::Degraded(comparison) => Some((false, comparison)),
            SchedulingDelay::Void(comparison) => Some((true, comparison)),
        }
    };
    let hits = hits(processes, |process| {
        let (is_void, Comparison { delay_ms, service_ms, .. }) = compare(process)?;
        Some((is_void, delay_ms / service_ms.max(1e-6)))
    });
    let worst = hits.first()?;
    let (_, Comparison { percentile, delay_ms, service_ms }) = compare(worst.process)?;
    let meaning = match worst.is_void {
        true => "it did not run when it was due, so its times are not the database's",
        false => "its times include waiting for a processor",
    };
    let reason = format!(
        "the scheduling delay of {} was {} ({percentile}) where queries took {} ({percentile}): {meaning}; {}",
        names(&hits),
        duration(delay_ms),
        duration(service_ms),
        more_processors(evidence, worst.process),
    );
    Some(Finding { cause: Cause::AgentLate, is_void: worst.is_void, reason })
}

/// Finds waits that the probe of the scheduling delay misses: it sleeps most of the time, and the scheduler prefers threads that have slept
/// over workers that have just run. Agents that share processors with the embedded server inevitably wait for it.
fn waited(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| {
        let (share, turns) = process.waited().filter(|_| throttled_share(process).is_none())?;
        let is_void = share > WAITED_SHARE_VOID && !evidence.has_embedded_server;
        (share > WAITED_SHARE_MAX && turns >= WAITED_TURNS_MIN).then_some((is_void, share))
    });
    let worst = hits.first()?;
    let meaning = match worst.is_void {
        true => "most of the times may be this wait and not the database",
        false => "up to this share of the times is this wait and not the database",
    };
    let has_high_own_use = worst.process.health.cpu_share.is_some_and(|share| share > CPU_SHARE_WANTED);
    let fewer = if has_high_own_use { "run fewer workers there, " } else { "" };
    let reason = format!(
        "workers of {} were ready to run and waited for a processor for {} of the time that their queries took: {meaning}; \
         {fewer}{}",
        names(&hits),
        percent(worst.measure),
        more_processors(evidence, worst.process),
    );
    Some(Finding { cause: Cause::AgentWaited, is_void: worst.is_void, reason })
}

fn paused(_: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| {
        let pause_ms = scheduling_delay::pause_ms(process.health.late_ms.as_ref()?, process.service?)?;
        Some((false, pause_ms))
    });
    let worst = hits.first()?;
    let reason = format!(
        "{} was paused for {}: the process was stopped, or its machine was paused or short of memory; queries in flight appear slower by \
         this time; repeat the run without disturbing the machine",
        names(&hits),
        duration(worst.measure),
    );
    Some(Finding { cause: Cause::AgentStoodStill, is_void: false, reason })
}

fn busy(_: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let share = |process: &Process<'_>| {
        if throttled_share(process).is_some() {
            return None;
        }
        let health = process.health;
        let (average, hot_ms) = (health.cpu_share?, health.cpu_hot_ms.unwrap_or(0.0));
        let is_hot = hot_ms > CPU_HOT_MS.max(CPU_HOT_SHARE * health.watched_ms);
        match health.cpu_share_worst {
            _ if average > CPU_SHARE_MAX => Some((average, "")),
            Some(worst) if is_hot => Some((worst, " at times")),
            _ => None,
        }
    };
    let hits = hits(processes, |process| Some((false, share(process)?.0)));
    let worst = hits.first()?;
    let (used, at_times) = share(worst.process)?;
    let reason = format!(
        "{} used {} of its available CPU ({} processors){at_times}: the times may include its own delays; add agents ({}), or run \
         workers on other machines",
        names(&hits),
        // Can exceed 1 slightly, because time and CPU time are read one after the other.
        percent(used.min(1.0)),
        cores(worst.process),
        about_more(&hits, |hit| hit.measure),
    );
    Some(Finding { cause: Cause::AgentBusy, is_void: false, reason })
}

/// Not applied after a loss: workers then wait for the lost slot's rows until its grace period ends, which is not starvation.
fn starved(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    if !evidence.lost.is_empty() {
        return None;
    }
    let unthrottled = processes.iter().filter(|process| throttled_share(process).is_none());
    let agents = unthrottled.flat_map(|process| &process.agents);
    let starved = agents.filter_map(|agent| {
        let health = agent.health.as_ref()?;
        let is_starved = health.starved_share > STARVED_SHARE_MAX && health.starved_ms > STARVED_MS_MAX;
        is_starved.then_some((agent, health))
    });
    let starved: Vec<_> = starved.collect();
    let (agent, health) = starved.iter().max_by(|a, b| a.1.starved_share.total_cmp(&b.1.starved_share))?;
    let others = match starved.len() - 1 {
        0 => String::new(),
        1 => " (and of one other agent)".to_owned(),
        count => format!(" (and of {count} other agents)"),
    };
    let reason = format!(
        "workers of {}{others} had no row to run for {} of their time ({}) although rows were left: the load was lower than possible; \
         give the coordinator more CPU, or move it closer to the agents (slowest heartbeat: {})",
        agent.slot,
        percent(health.starved_share),
        duration(health.starved_ms),
        duration(health.round_trip_max_ms),
    );
    Some(Finding { cause: Cause::AgentStarved, is_void: false, reason })
}

fn stolen(_: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| {
        let share = process.health.steal_share.filter(|share| *share > STEAL_SHARE_MAX)?;
        (process.health.watched_ms >= STEAL_MS_MIN).then_some((false, share))
    });
    let worst = hits.first()?;
    let reason = format!(
        "the machine of {} received {} less CPU time than it needed, because the hypervisor gave it to others (steal): run agents on \
         machines with dedicated processors",
        names(&hits),
        percent(worst.measure),
    );
    Some(Finding { cause: Cause::MachineStolen, is_void: false, reason })
}

fn more_processors(evidence: &Evidence<'_>, process: &Process<'_>) -> String {
    let busy = process.health.machine_busy_share;
    let busy =
        busy.map_or_else(String::new, |share| format!(", whose processors were {} busy", percent(share)));
    if evidence.has_embedded_server {
        format!(
            "agents and the embedded server share this machine{busy}: use fewer agents, or a database on another machine"
        )
    } else {
        format!("stop other processes on {}{busy}, or run agents elsewhere", process.machine())
    }
}

/// The number of additional agents that would lower the CPU share to the wanted one, if the work were divided evenly.
fn about_more<'p, 'a>(hits: &[Hit<'p, 'a>], share: impl Fn(&Hit<'p, 'a>) -> f64) -> String {
    let agents: usize = hits.iter().map(|hit| hit.process.agents.len()).sum();
    let wanted: f64 =
        hits.iter().map(|hit| share(hit) * hit.process.agents.len() as f64 / CPU_SHARE_WANTED).sum();
    let more = (wanted.ceil() - agents as f64).max(1.0);
    format!("about {more:.0} more")
}

fn cores(process: &Process<'_>) -> String {
    let cores = process.health.cores;
    if cores.fract() == 0.0 { format!("{cores:.0}") } else { format!("{cores:.2}") }
}
