//! Maps a result to an exit code. The first condition that applies decides: an early end of the run; 12, rows unaccounted, because
//! then no figure is reliable; 11, a VOID verdict, because then the latencies are not reliable; 10, a missed threshold; 14, failed
//! queries.

use muster_report::result::{Ending, RunResult, VerdictStatus};

use crate::exit::Exit;
use crate::threshold::Threshold;

/// Conditions that do not fail the run, because the user allowed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tolerated {
    void: bool,
    /// A threshold limits the number of failed queries, and its result decides.
    failed_queries: bool,
}

impl Tolerated {
    pub(super) fn of(thresholds: &[Threshold], void: bool) -> Self {
        Self { void, failed_queries: thresholds.iter().any(Threshold::limits_failed_queries) }
    }
}

pub(super) fn exit(result: &RunResult, tolerated: Tolerated) -> Exit {
    match result.ending {
        Ending::Interrupted => Exit::Interrupted,
        Ending::AgentsLost => Exit::AgentsLost,
        Ending::WorkloadUnreadable => Exit::Usage,
        Ending::CannotWrite => Exit::CannotWrite,
        Ending::Unfinished => Exit::Internal,
        Ending::Completed if result.queries.unaccounted > 0 => Exit::Unaccounted,
        Ending::Completed if result.verdict.status == VerdictStatus::Void && !tolerated.void => Exit::Void,
        Ending::Completed if misses_threshold(result) => Exit::ThresholdMissed,
        Ending::Completed if result.search.is_some() => match found_rate(result) {
            true => Exit::Success,
            false => Exit::ThresholdMissed,
        },
        Ending::Completed if result.queries.failed > 0 && !tolerated.failed_queries => Exit::QueriesFailed,
        Ending::Completed => Exit::Success,
    }
}

/// Returns true if a search found a rate. The queries that failed meanwhile were allowed by the objective.
fn found_rate(result: &RunResult) -> bool {
    result.search.as_ref().is_some_and(|search| search.highest_rate.is_some())
}

pub(super) fn misses_threshold(result: &RunResult) -> bool {
    result.thresholds.iter().any(|threshold| !threshold.passed)
}

#[cfg(test)]
mod tests {
    use muster_report::result::RunResult;

    use muster_report::fixtures;

    use super::*;

    #[track_caller]
    fn check(result: &RunResult, thresholds: &[&str], allow_void: bool, code: u8) {
        let thresholds: Vec<Threshold> = thresholds.iter().map(|text| text.parse().unwrap()).collect();
        let tolerated = Tolerated::of(&thresholds, allow_void);
        assert_eq!(exit(result, tolerated).code(), code);
    }

    #[test]
    fn the_first_condition_that_applies_decides() {
        let mut result = fixtures::failures();
        result.verdict.status = VerdictStatus::Void;
        result.queries.unaccounted = 1;
        check(&result, &[], false, 12);
        result.queries.unaccounted = 0;
        check(&result, &[], false, 11);
        check(&result, &[], true, 10);
        result.thresholds.retain(|threshold| threshold.passed);
        check(&result, &["p95<10ms"], true, 14);
        check(&result, &["host:*:failed=0"], true, 14);
        check(&result, &["failed<10%"], true, 0);
        check(&result, &["failed<10%"], false, 11);
        result.ending = Ending::Interrupted;
        check(&result, &["failed<10%"], true, 130);
        check(&fixtures::good(), &[], false, 0);
    }

    #[test]
    fn a_degraded_run_exits_with_success() {
        let mut result = fixtures::good();
        result.verdict.status = VerdictStatus::Degraded;
        check(&result, &[], false, 0);
    }
}
