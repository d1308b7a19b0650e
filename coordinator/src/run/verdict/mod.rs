//! What a run's figures are worth. VALID: nothing to say. DEGRADED: something happened that may have left its mark on them. VOID: the
//! load generator was the bottleneck, and the figures are its own. Pure: values of the result in, a verdict with causes and remedies
//! out, the same for the process that ran the run and for one that reads its journal.

mod agents;
mod lateness;
mod process;
mod server;
#[cfg(test)]
mod tests;

use muster_common::result::{
    Agent, Cause, Ending, Intervals, Latency, ProcessHealth, Utilization, Verdict, VerdictStatus,
};

use super::servers::{Broken, Change};
use crate::output::units::{counted, duration};

/// A generator delay above this at p99, or above a tenth of the median service time, means that queries were not sent when they were due.
pub(super) const DELAY_MS_MAX: f64 = 1.0;
pub(super) const DELAY_OF_MEDIAN_MAX: f64 = 0.1;
/// Generator overhead as a share of the workers' time: it lowers the throughput by this share. The limit is a tenth, as for the generator
/// delay. This is far above the values measured on two processors shared with the server: 2.1 % for queries of 0.08 ms on one connection,
/// 1.0 % on eight, 0.1 % for queries of 50 ms. At the start of a run workers wait for their first rows, so a small total is no evidence.
const OVERHEAD_SHARE_MAX: f64 = 0.1;
const OVERHEAD_MS_MIN: f64 = 100.0;
/// The coordinator's event loop: a worker holds half a second of work, so a tenth of a second is felt nowhere. Later than that at
/// p99, or by a whole beat at once, rows and beats come late.
const LOOP_P99_MS_MAX: f64 = 100.0;
const LOOP_MS_MAX: f64 = 1_000.0;

/// What a verdict is made from.
pub(crate) struct Evidence<'a> {
    pub(crate) ending: Ending,
    /// How often another coordinator took the run up.
    pub(crate) resumed: u32,
    /// Agents that were lost while they ran rows.
    pub(crate) lost: Vec<Lost<'a>>,
    pub(crate) agents: &'a [Agent],
    pub(crate) coordinator: Option<&'a ProcessHealth>,
    /// Slots of which an agent asked no database.
    pub(crate) unasked: Vec<String>,
    /// The database is the embedded one: agents and server share processors and quotas, and slow each other by nature.
    pub(crate) has_embedded_server: bool,
    /// Completed and failed.
    pub(crate) queries: [u32; 2],
    /// Differences between the servers of the run.
    pub(crate) servers: Vec<Change>,
    pub(crate) broken: Broken,
    /// Of all agents.
    pub(crate) service: Option<&'a Latency>,
    /// How late queries began although their worker was free: the start minus the later of the due time and the end of the worker's
    /// previous query. Time spent waiting for a busy worker or reconnecting is not included. `None` without due times.
    pub(crate) generator_delay: Option<&'a Latency>,
    /// Given where the time that workers spend between queries limits the throughput: in a closed loop, and in an open loop that fell
    /// behind.
    pub(crate) overhead: Option<&'a Utilization>,
}

pub(crate) struct Lost<'a> {
    pub(crate) slot: String,
    pub(crate) reason: &'a str,
    pub(crate) machine: &'a str,
}

/// One reason.
#[derive(Debug)]
struct Finding {
    cause: Cause,
    is_void: bool,
    reason: String,
}

pub(crate) fn judge(evidence: &Evidence<'_>) -> Verdict {
    let processes = process::group(evidence);
    let mut findings: Vec<Finding> = ended(evidence.ending).into_iter().collect();
    findings.extend(resumed(evidence.resumed));
    findings.extend(evidence.lost.iter().map(lost));
    findings.extend(unasked(&evidence.unasked));
    findings.extend(all_failed(evidence.queries));
    findings.extend(server::findings(&evidence.servers, &evidence.broken));
    findings.extend(generator_delay(evidence));
    findings.extend(overhead(evidence));
    findings.extend(agents::findings(evidence, &processes));
    findings.extend(evidence.coordinator.and_then(coordinator));
    // The worst first; otherwise in this order.
    findings.sort_by_key(|finding| !finding.is_void);
    let status = match findings.first() {
        None => VerdictStatus::Valid,
        Some(Finding { is_void: false, .. }) => VerdictStatus::Degraded,
        Some(Finding { is_void: true, .. }) => VerdictStatus::Void,
    };
    let (causes, reasons) = findings.into_iter().map(|finding| (finding.cause, finding.reason)).unzip();
    Verdict { status, reasons, causes }
}

fn ended(ending: Ending) -> Option<Finding> {
    let reason = match ending {
        Ending::Completed | Ending::AgentsLost => return None,
        Ending::Interrupted => "the run was interrupted: go on with it by --resume",
        Ending::WorkloadUnreadable => {
            "the workload changed or could not be read to its end: leave the file alone while it is run"
        }
        Ending::CannotWrite => {
            "the journal could not be written: make room, and go on with the run by --resume"
        }
        Ending::Unfinished => {
            "the run has not ended: it is running, or its coordinator was killed; go on with it by --resume"
        }
    };
    Some(Finding { cause: Cause::EndedEarly, is_void: false, reason: reason.to_owned() })
}

fn resumed(times: u32) -> Option<Finding> {
    let reason = "the run was taken up again: its parts met different states of the database".to_owned();
    (times > 0).then_some(Finding { cause: Cause::Resumed, is_void: false, reason })
}

fn all_failed([completed, failed]: [u32; 2]) -> Option<Finding> {
    let queries = counted(failed.into(), "query");
    let reason =
        format!("no query completed, and {queries} failed: nothing was measured; the errors say why");
    (completed == 0 && failed > 0).then_some(Finding { cause: Cause::AllFailed, is_void: false, reason })
}

fn lost(lost: &Lost<'_>) -> Finding {
    let Lost { slot, reason, machine } = lost;
    let reason = format!("{slot} was lost ({reason}); its log on {machine} may say more");
    Finding { cause: Cause::AgentLost, is_void: false, reason }
}

fn unasked(slots: &[String]) -> Option<Finding> {
    let [first, others @ ..] = slots else { return None };
    let others = if others.is_empty() { String::new() } else { format!(" and {} others", others.len()) };
    let reason = format!(
        "{first}{others} asked no database, for an agent was started with --null-database: the times are Muster's own; start it without"
    );
    Some(Finding { cause: Cause::NoDatabase, is_void: true, reason })
}

fn generator_delay(evidence: &Evidence<'_>) -> Option<Finding> {
    let (delay, service) = (evidence.generator_delay?, evidence.service?);
    let (name, delay_ms, interval) = highest(delay);
    let limit_ms = DELAY_MS_MAX.max(DELAY_OF_MEDIAN_MAX * service.median);
    // Rows of a lost agent, or of a run without a coordinator, were due while they had no worker. More agents would not help.
    let was_whole = evidence.lost.is_empty() && evidence.resumed == 0;
    let remedy = match was_whole {
        true => "add agents, run them on machines of their own, or ask for a lower rate",
        false => "rows became due while their worker was missing",
    };
    let reason = format!(
        "queries began {} late ({name}) although their workers were free, and {} is the limit: the times are not those of the \
         rate that was asked for; {remedy}",
        duration(delay_ms),
        duration(limit_ms),
    );
    // In a short run one moment in which the machine was held up makes a p99: it may be no more than that.
    let is_sure = interval.is_none_or(|[at_least, _]| at_least > limit_ms);
    let is_void = is_sure && was_whole;
    (delay_ms > limit_ms).then_some(Finding { cause: Cause::Lag, is_void, reason })
}

fn overhead(evidence: &Evidence<'_>) -> Option<Finding> {
    let utilization = evidence.overhead?;
    let share = utilization.generator_overhead_share?;
    let overhead_ms = utilization.generator_overhead_ms?;
    let worst = utilization.generator_overhead_worst.as_ref()?;
    let reason = format!(
        "workers spent {} of their time between queries ({} the most, {}): the throughput is lower by that than what the connections \
         could have had; run agents on machines of their own, or add agents",
        percent(share),
        worst.worker,
        percent(worst.share),
    );
    let is_noticeable = share > OVERHEAD_SHARE_MAX && overhead_ms > OVERHEAD_MS_MIN;
    is_noticeable.then_some(Finding { cause: Cause::GeneratorOverhead, is_void: false, reason })
}

/// The highest percentile up to p99 that the sample supports, with the interval in which that of all such runs lies.
pub(super) fn highest(latency: &Latency) -> (&'static str, f64, Option<[f64; 2]>) {
    let Intervals { median_ci, p90_ci, p95_ci, p99_ci, .. } = latency.intervals;
    let supported =
        [("p99", latency.p99, p99_ci), ("p95", latency.p95, p95_ci), ("p90", latency.p90, p90_ci)];
    let first = supported.into_iter().find_map(|(name, value, interval)| Some((name, value?, interval)));
    first.unwrap_or(("median", latency.median, median_ci))
}

fn coordinator(health: &ProcessHealth) -> Option<Finding> {
    let late = health.late_ms.as_ref()?;
    let late_ms = match late.p99 {
        Some(p99) if p99 > LOOP_P99_MS_MAX => format!("{} late (p99)", duration(p99)),
        _ if late.max > LOOP_MS_MAX => format!("{} late at once", duration(late.max)),
        _ => return None,
    };
    let reason = format!(
        "the coordinator's event loop was {late_ms}: rows, beats and acknowledgements came late; give it a processor of its own, \
         or a machine that is not busy"
    );
    Some(Finding { cause: Cause::CoordinatorLate, is_void: false, reason })
}

/// `93 %`, `1.2 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}
