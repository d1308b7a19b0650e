//! From a result to the code that its process leaves with. The first of these that applies: how the run ended, if that was early;
//! 12, for what does not add up means nothing; 11, for what the load generator spoiled means nothing either; 10, what was asked for
//! and not reached; 14, which is about the queries and says least of the run.

use muster_common::result::{Ending, RunResult, VerdictStatus};

use crate::exit::Exit;
use crate::threshold::Threshold;

/// What is no failure, because it was said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tolerated {
    void: bool,
    /// A threshold says how many queries may fail, and judges it.
    failed_queries: bool,
}

impl Tolerated {
    pub(super) fn of(thresholds: &[Threshold], void: bool) -> Self {
        Self { void, failed_queries: thresholds.iter().any(Threshold::is_about_all_failures) }
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
        Ending::Completed if result.search.is_some() => match holds(result) {
            true => Exit::Success,
            false => Exit::ThresholdMissed,
        },
        Ending::Completed if result.queries.failed > 0 && !tolerated.failed_queries => Exit::QueriesFailed,
        Ending::Completed => Exit::Success,
    }
}

/// A search found a rate; queries that failed then were allowed to.
fn holds(result: &RunResult) -> bool {
    result.search.as_ref().is_some_and(|search| search.highest_rate.is_some())
}

pub(super) fn misses_threshold(result: &RunResult) -> bool {
    result.thresholds.iter().any(|threshold| !threshold.passed)
}

#[cfg(test)]
mod tests {
    use muster_common::result::RunResult;

    use super::*;
    use crate::output::fixtures;

    #[track_caller]
    fn check(result: &RunResult, thresholds: &[&str], allow_void: bool, code: u8) {
        let thresholds: Vec<Threshold> = thresholds.iter().map(|text| text.parse().unwrap()).collect();
        let tolerated = Tolerated::of(&thresholds, allow_void);
        assert_eq!(exit(result, tolerated).code(), code);
    }

    #[test]
    fn the_first_that_applies_decides() {
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
    fn degraded_is_no_failure() {
        let mut result = fixtures::good();
        result.verdict.status = VerdictStatus::Degraded;
        check(&result, &[], false, 0);
    }
}
