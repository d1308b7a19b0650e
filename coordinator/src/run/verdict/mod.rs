//! The verdict on a run. VALID: no problems were detected. DEGRADED: something happened that may have affected the figures. VOID: the load
//! generator was the bottleneck, so the figures describe it and not the database. Pure: computes the verdict, with causes and remedies,
//! from values of the result, so it is the same for the process that ran the run and for one that reads its journal.

mod agents;
mod process;
mod scheduling_delay;
mod server;
#[cfg(test)]
mod tests;

use muster_report::result::{
    Agent, Cause, Ending, Intervals, Latency, ProcessHealth, Utilization, Verdict, VerdictStatus,
};

use muster_report::units::{counted, duration};

use super::servers::{Broken, Change};

/// Queries were not sent when they were due if the p99 of the generator delay is above both this and a tenth of the median service time.
pub(super) const DELAY_MS_MAX: f64 = 1.0;
pub(super) const DELAY_OF_MEDIAN_MAX: f64 = 0.1;
/// Maximum generator overhead as a share of the workers' time. Overhead lowers the throughput by its share. The limit is a tenth, as for
/// the generator delay. This is far above the values measured on two processors shared with the server: 2.1 % for queries of 0.08 ms on one
/// connection, 1.0 % on eight, 0.1 % for queries of 50 ms. At the start of a run workers wait for their first rows, so a small total is no
/// evidence.
const OVERHEAD_SHARE_MAX: f64 = 0.1;
const OVERHEAD_MS_MIN: f64 = 100.0;
/// Limits of the scheduling delay of the coordinator's event loop, at p99 and at most. A worker holds rows for half a second, so a delay of
/// a tenth of a second has no effect. With longer delays, or one of a whole heartbeat interval, rows and heartbeats are delayed.
const LOOP_P99_MS_MAX: f64 = 100.0;
const LOOP_MS_MAX: f64 = 1_000.0;

/// The evidence for a verdict.
pub(crate) struct Evidence<'a> {
    pub(crate) ending: Ending,
    /// How often another coordinator resumed the run.
    pub(crate) resumed: u32,
    /// Agents that were lost while they ran rows.
    pub(crate) lost: Vec<Lost<'a>>,
    pub(crate) agents: &'a [Agent],
    pub(crate) coordinator: Option<&'a ProcessHealth>,
    /// Slots with an agent that used the null database.
    pub(crate) null_database_slots: Vec<String>,
    /// True if the database is the embedded one. Agents and server then share processors and quotas and inevitably slow each other down.
    pub(crate) has_embedded_server: bool,
    /// The numbers of completed and failed queries.
    pub(crate) queries: [u32; 2],
    /// Differences between the servers of the run.
    pub(crate) servers: Vec<Change>,
    pub(crate) broken: Broken,
    /// The service times of all agents.
    pub(crate) service: Option<&'a Latency>,
    /// The delay of queries whose worker was free: the start minus the later of the due time and the end of the worker's previous query.
    /// Time spent waiting for a busy worker or reconnecting is not included. `None` without due times.
    pub(crate) generator_delay: Option<&'a Latency>,
    /// Present only if the time that workers spend between queries limits the throughput: in a closed loop, and in an open loop that fell
    /// behind.
    pub(crate) overhead: Option<&'a Utilization>,
}

pub(crate) struct Lost<'a> {
    pub(crate) slot: String,
    pub(crate) reason: &'a str,
    pub(crate) machine: &'a str,
}

/// One reason of a verdict.
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
    findings.extend(null_database(&evidence.null_database_slots));
    findings.extend(all_failed(evidence.queries));
    findings.extend(server::findings(&evidence.servers, &evidence.broken));
    findings.extend(generator_delay(evidence));
    findings.extend(overhead(evidence));
    findings.extend(agents::findings(evidence, &processes));
    findings.extend(evidence.coordinator.and_then(coordinator));
    // Findings that void the run come first; otherwise the order is kept.
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
        Ending::Interrupted => "the run was interrupted: continue it with --resume",
        Ending::WorkloadUnreadable => {
            "the workload file changed or could not be read completely: do not modify the file during a run"
        }
        Ending::CannotWrite => {
            "the journal could not be written: free disk space and continue the run with --resume"
        }
        Ending::Unfinished => {
            "the run has not ended: it is still running, or its coordinator was killed; continue it with --resume"
        }
    };
    Some(Finding { cause: Cause::EndedEarly, is_void: false, reason: reason.to_owned() })
}

fn resumed(times: u32) -> Option<Finding> {
    let reason = "the run was resumed: it covers different states of the database".to_owned();
    (times > 0).then_some(Finding { cause: Cause::Resumed, is_void: false, reason })
}

fn all_failed([completed, failed]: [u32; 2]) -> Option<Finding> {
    let queries = counted(failed.into(), "query");
    let reason = format!("no query completed, and {queries} failed: nothing was measured; see the errors");
    (completed == 0 && failed > 0).then_some(Finding { cause: Cause::AllFailed, is_void: false, reason })
}

fn lost(lost: &Lost<'_>) -> Finding {
    let Lost { slot, reason, machine } = lost;
    let reason = format!("{slot} was lost ({reason}); see its log on {machine}");
    Finding { cause: Cause::AgentLost, is_void: false, reason }
}

fn null_database(slots: &[String]) -> Option<Finding> {
    let [first, others @ ..] = slots else { return None };
    let others = if others.is_empty() { String::new() } else { format!(" and {} others", others.len()) };
    let reason = format!(
        "{first}{others} used no database, because an agent was started with --null-database: the times are Muster's own; start it without"
    );
    Some(Finding { cause: Cause::NoDatabase, is_void: true, reason })
}

fn generator_delay(evidence: &Evidence<'_>) -> Option<Finding> {
    let (delay, service) = (evidence.generator_delay?, evidence.service?);
    let (name, delay_ms, interval) = highest(delay);
    let limit_ms = DELAY_MS_MAX.max(DELAY_OF_MEDIAN_MAX * service.median);
    // Rows of a lost agent, or of a run without a coordinator, became due while they had no worker. More agents would not help.
    let was_uninterrupted = evidence.lost.is_empty() && evidence.resumed == 0;
    let remedy = match was_uninterrupted {
        true => "add agents, run them on separate machines, or lower the rate",
        false => "rows became due while their worker was missing",
    };
    let reason = format!(
        "the generator delay is {} ({name}), above the limit of {}: queries began late although their workers were free, so the times \
         are not those of the requested rate; {remedy}",
        duration(delay_ms),
        duration(limit_ms),
    );
    // In a short run a single pause of the machine can determine the p99, so the confidence interval must be above the limit.
    let is_certain = interval.is_none_or(|[at_least, _]| at_least > limit_ms);
    let is_void = is_certain && was_uninterrupted;
    (delay_ms > limit_ms).then_some(Finding { cause: Cause::Lag, is_void, reason })
}

fn overhead(evidence: &Evidence<'_>) -> Option<Finding> {
    let utilization = evidence.overhead?;
    let share = utilization.generator_overhead_share?;
    let overhead_ms = utilization.generator_overhead_ms?;
    let worst = utilization.generator_overhead_worst.as_ref()?;
    let reason = format!(
        "workers spent {} of their time between queries ({} the most, {}): the throughput is lower by this share than the connections \
         allow; run agents on separate machines, or add agents",
        percent(share),
        worst.worker,
        percent(worst.share),
    );
    let is_noticeable = share > OVERHEAD_SHARE_MAX && overhead_ms > OVERHEAD_MS_MIN;
    is_noticeable.then_some(Finding { cause: Cause::GeneratorOverhead, is_void: false, reason })
}

/// The highest percentile up to p99 that the sample supports, with its confidence interval.
pub(super) fn highest(latency: &Latency) -> (&'static str, f64, Option<[f64; 2]>) {
    let Intervals { median_ci, p90_ci, p95_ci, p99_ci, .. } = latency.intervals;
    let supported =
        [("p99", latency.p99, p99_ci), ("p95", latency.p95, p95_ci), ("p90", latency.p90, p90_ci)];
    let first = supported.into_iter().find_map(|(name, value, interval)| Some((name, value?, interval)));
    first.unwrap_or(("median", latency.median, median_ci))
}

fn coordinator(health: &ProcessHealth) -> Option<Finding> {
    let delay = health.late_ms.as_ref()?;
    let delay = match delay.p99 {
        Some(p99) if p99 > LOOP_P99_MS_MAX => format!("{} (p99)", duration(p99)),
        _ if delay.max > LOOP_MS_MAX => format!("{} (max)", duration(delay.max)),
        _ => return None,
    };
    let reason = format!(
        "the coordinator's event loop was delayed by {delay}: rows, heartbeats and acknowledgements were delayed; give the coordinator \
         a dedicated processor, or a machine that is not busy"
    );
    Some(Finding { cause: Cause::CoordinatorLate, is_void: false, reason })
}

/// Formats a share, such as `93 %` or `1.2 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}
