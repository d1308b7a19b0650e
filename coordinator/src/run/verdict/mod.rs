//! What a run's figures are worth. VALID: nothing to say. DEGRADED: something happened that may have left its mark on them. VOID: the
//! load generator was the bottleneck, and the figures are its own. Pure: values of the result in, a verdict with causes and remedies
//! out, the same for the process that ran the run and for one that reads its journal.

mod agents;
mod lateness;
mod process;
#[cfg(test)]
mod tests;

use muster_common::result::{
    Agent, Cause, Ending, Intervals, Latency, ProcessHealth, Verdict, VerdictStatus,
};

use crate::output::units::duration;

/// In an open loop a query that begins this late at p99, or later than a tenth of the median service time, was not sent when it was due.
const LAG_MS_MAX: f64 = 1.0;
const LAG_OF_MEDIAN_MAX: f64 = 0.1;
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
    /// Of all agents.
    pub(crate) service: Option<&'a Latency>,
    /// In an open loop: how late queries began although their worker was free, the start minus the later of the due time and the end
    /// of the query before. What a slow database delays is no fault of the generator. `None` in a closed loop.
    pub(crate) lag: Option<&'a Latency>,
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
    findings.extend(lag(evidence));
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
            "the workload could not be read to its end: leave the file alone while it is run"
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

fn lag(evidence: &Evidence<'_>) -> Option<Finding> {
    let (lag, service) = (evidence.lag?, evidence.service?);
    let (name, late_ms, interval) = highest(lag);
    let limit_ms = LAG_MS_MAX.max(LAG_OF_MEDIAN_MAX * service.median);
    let reason = format!(
        "queries began {} late ({name}) although their workers were free, and {} is the limit: the times are not those of the \
         rate that was asked for; add agents, run them on machines of their own, or ask for a lower rate",
        duration(late_ms),
        duration(limit_ms),
    );
    // In a short run one moment in which the machine was held up makes a p99: it may be no more than that.
    let is_sure = interval.is_none_or(|[at_least, _]| at_least > limit_ms);
    (late_ms > limit_ms).then_some(Finding { cause: Cause::Lag, is_void: is_sure, reason })
}

/// The highest percentile up to p99 that the sample supports, with the interval in which that of all such runs lies.
fn highest(latency: &Latency) -> (&'static str, f64, Option<[f64; 2]>) {
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
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}
