//! What may be said of the agents: a rule looks at one process and says whether it applies, how hard, and with which sentence. Of
//! several that a rule applies to, the worst is named and the others are counted.

use muster_common::limits;
use muster_common::result::Cause;

use super::lateness::{self, Comparison, Lateness};
use super::process::Process;
use super::{Evidence, Finding, percent};
use crate::output::units::duration;

/// Of the CPU that an agent may use; in the average of the run, or in seconds that make up so much of it.
const CPU_SHARE_MAX: f64 = limits::CPU_SHARE_MAX_PER_MILLE as f64 / 1e3;
const CPU_HOT_SHARE: f64 = 0.05;
const CPU_HOT_MS: f64 = 2_000.0;
/// What an agent should use when there are enough of them.
const CPU_SHARE_WANTED: f64 = 0.7;
/// Wait for a processor, of the time that queries took. Queries of some milliseconds and more had 2 to 8 % where nothing else ran, and
/// 12 to 15 % beside busy loops. The shortest ones had 40 to 98 % beside busy loops, but no less where agents and server alone filled
/// both processors of a machine. It is an upper bound: the kernel tells waits within a query neither from those before the next one
/// nor from those while the server works. Therefore a run is not void until that is most of its times.
const WAITED_SHARE_MAX: f64 = 0.1;
const WAITED_SHARE_VOID: f64 = 0.5;
/// Of fewer turns a single long wait is a large part.
const WAITED_TURNS_MIN: u64 = 500;
/// Held back in more than a hundredth of the time, the quota is in p99.
const THROTTLED_SHARE_MAX: f64 = 0.01;
const STEAL_SHARE_MAX: f64 = 0.05;
/// The kernel counts it in hundredths of a second: of a shorter time one more or less says nothing.
const STEAL_MS_MIN: f64 = 1_000.0;
const STARVED_SHARE_MAX: f64 = 0.01;
/// At its start a run sends few rows at a time, until it knows how fast each worker is.
const STARVED_MS_MAX: f64 = 100.0;
/// What fewer rows than this share met cannot be in the p99 of the run.
const VOID_ROWS_SHARE: f64 = 0.01;

type Rule = fn(&Evidence<'_>, &[Process<'_>]) -> Option<Finding>;

/// A rule that applies to a process.
struct Hit<'p, 'a> {
    process: &'p Process<'a>,
    is_void: bool,
    /// The higher, the worse.
    measure: f64,
}

pub(super) fn findings(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Vec<Finding> {
    let rules: [Rule; 7] = [throttled, late, waited, stood_still, busy, starved, stolen];
    rules.into_iter().filter_map(|rule| rule(evidence, processes)).collect()
}

/// The hits of a rule, the worst first. Hits that void the run do so when rows enough met them.
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

/// `slot-2`, `slot-2 and 3 other agents`.
fn names(hits: &[Hit<'_, '_>]) -> String {
    let Some((worst, others)) = hits.split_first() else { return String::new() };
    let others: usize = others.iter().map(|hit| hit.process.agents.len()).sum();
    match others {
        0 => worst.process.name(),
        1 => format!("{} (and one other agent)", worst.process.name()),
        _ => format!("{} (and {others} other agents)", worst.process.name()),
    }
}

/// A quota explains why a process is late, busy or starved, and there is one remedy for all of it: the other rules pass it by.
fn throttled_share(process: &Process<'_>) -> Option<f64> {
    process.health.throttled_share.filter(|share| *share > THROTTLED_SHARE_MAX)
}

/// How many more agents it would take is not known: what was held back did not show how much it wanted.
fn throttled(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| Some((!evidence.has_embedded_server, throttled_share(process)?)));
    let worst = hits.first()?;
    let remedy = if evidence.has_embedded_server {
        "the embedded server is under the same limit, and was held back, too; raise it, or name a database elsewhere"
    } else {
        "its times are those of the limit; raise it, or add agents that have limits of their own"
    };
    let reason = format!(
        "{} was held back by its CPU limit ({} processors) in {} of the time: {remedy}",
        names(&hits),
        cores(worst.process),
        percent(worst.measure),
    );
    Some(Finding { cause: Cause::AgentThrottled, is_void: worst.is_void, reason })
}

fn late(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let compare = |process: &Process<'_>| {
        if throttled_share(process).is_some() {
            return None;
        }
        let (late, service) = (process.health.late_ms.as_ref()?, process.service?);
        match lateness::compare(late, service) {
            Lateness::Fine => None,
            Lateness::Degraded(comparison) => Some((false, comparison)),
            Lateness::Void(comparison) => Some((true, comparison)),
        }
    };
    let hits = hits(processes, |process| {
        let (is_void, Comparison { late_ms, service_ms, .. }) = compare(process)?;
        Some((is_void, late_ms / service_ms.max(1e-6)))
    });
    let worst = hits.first()?;
    let (_, Comparison { percentile, late_ms, service_ms }) = compare(worst.process)?;
    let what_it_means = match worst.is_void {
        true => "it did not run when it had to, and its times are not the database's",
        false => "a part of that is the wait for a processor",
    };
    let reason = format!(
        "threads of {} that were due woke {} late ({percentile}) where queries took {} ({percentile}): {what_it_means}; {}",
        names(&hits),
        duration(late_ms),
        duration(service_ms),
        more_processors(evidence, worst.process),
    );
    Some(Finding { cause: Cause::AgentLate, is_void: worst.is_void, reason })
}

/// What the probe does not see: it sleeps most of the time, and who has slept is woken before workers that have just run. Agents that
/// share processors with the embedded server cannot help waiting for it.
fn waited(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| {
        let (share, turns) = process.waited().filter(|_| throttled_share(process).is_none())?;
        let is_void = share > WAITED_SHARE_VOID && !evidence.has_embedded_server;
        (share > WAITED_SHARE_MAX && turns >= WAITED_TURNS_MIN).then_some((is_void, share))
    });
    let worst = hits.first()?;
    let what_it_means = match worst.is_void {
        true => "most of the times may be this wait and not the database",
        false => "up to so much of the times is this wait and not the database",
    };
    let is_by_itself = worst.process.health.cpu_share.is_some_and(|share| share > CPU_SHARE_WANTED);
    let fewer = if is_by_itself { "run fewer workers there, " } else { "" };
    let reason = format!(
        "workers of {} were ready to run and waited for a processor for {} of the time that their queries took: {what_it_means}; \
         {fewer}{}",
        names(&hits),
        percent(worst.measure),
        more_processors(evidence, worst.process),
    );
    Some(Finding { cause: Cause::AgentWaited, is_void: worst.is_void, reason })
}

fn stood_still(_: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    let hits = hits(processes, |process| {
        let still_ms = lateness::stood_still_ms(process.health.late_ms.as_ref()?, process.service?)?;
        Some((false, still_ms))
    });
    let worst = hits.first()?;
    let reason = format!(
        "{} stood still for {} at once: it was stopped, or its machine was paused or short of memory; queries that were in flight \
         look as slow as that; run again while the machine is left alone",
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
        "{} used {} of the CPU that it may use ({} processors){at_times}: times may be its own; add agents, {}, or run workers on other machines",
        names(&hits),
        // The clocks of time and of CPU time are read one after the other.
        percent(used.min(1.0)),
        cores(worst.process),
        about_more(&hits, |hit| hit.measure),
    );
    Some(Finding { cause: Cause::AgentBusy, is_void: false, reason })
}

/// After a loss workers wait for a slot's rows until its grace is over, and that is no starvation.
fn starved(evidence: &Evidence<'_>, processes: &[Process<'_>]) -> Option<Finding> {
    if !evidence.lost.is_empty() {
        return None;
    }
    let free = processes.iter().filter(|process| throttled_share(process).is_none());
    let healths = free.flat_map(|process| &process.agents);
    let starved = healths.filter_map(|agent| {
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
        "workers of {}{others} had no row to run in {} of their time ({}) although some were still to come: the load was lower than \
         it could have been; give the coordinator more CPU, or bring it nearer to the agents (slowest beat: {})",
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
        "the machine of {} got {} less CPU time than it wanted, for its hypervisor gave it to others (steal): run agents where \
         processors are not shared",
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
            "agents and the embedded server share this machine{busy}: use fewer agents, or name a database elsewhere"
        )
    } else {
        format!("end what else runs on {}{busy}, or run agents elsewhere", process.machine())
    }
}

/// Agents that would bring the share down to what is wanted, if the work were divided evenly.
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
