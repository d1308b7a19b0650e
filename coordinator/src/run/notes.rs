//! Notes on a run that do not change the verdict, as plain sentences. Pure.

use muster_core::ids::Epoch;
use muster_core::sample::Execution;
use muster_report::result::{self, Latency, Utilization};
use muster_stats::latency::{Sorted, Summary};
use muster_stats::statistics::outlying::{Outlier, outlying};

use muster_report::units::{count, duration, figure, times};

use super::latencies::DueTimes;
use super::record::Record;
use super::seen_answers::{Difference, Differences};
use super::tally::Answers;
use super::verdict::{DELAY_MS_MAX, DELAY_OF_MEDIAN_MAX, highest, percent};
use crate::workload::HostTable;

/// The maximum number of outlying agents that are named. The others are counted.
const OUTLIERS_NAMED_MAX: usize = 5;

/// States that the named file is not the one that ran.
pub(super) const WORKLOAD_CHANGED: &str = "the workload file changed while the run was reading it: every row ran with the verified \
                                          values, whose sha256 is below, but the file now has other values";

/// Names the agents whose latencies differ from those of the others. `samples` has the samples of each agent's workers, in the same order.
pub(super) fn outlying_agents(agents: &[result::Agent], samples: &[Vec<&Sorted>]) -> Vec<String> {
    let outliers = outlying(samples);
    let mut notes: Vec<String> = outliers
        .iter()
        .take(OUTLIERS_NAMED_MAX)
        .filter_map(|outlier| Some(outlier_note(agents.get(outlier.agent)?, outlier)))
        .collect();
    if let Some(more) = outliers.len().checked_sub(OUTLIERS_NAMED_MAX).filter(|more| *more > 0) {
        notes.push(format!("{more} more agents differ from the others as much"));
    }
    notes
}

/// States that the latencies are those of the successful queries, if more than one query in a hundred failed.
pub(super) fn survivors(completed: u64, failed: u64) -> Option<String> {
    let all = completed + failed;
    (completed > 0 && failed > all / 100).then(|| {
        format!(
            "{} of {} queries failed: latencies are those of the successful ones, which are the faster ones if queries failed by timeout",
            count(failed),
            count(all)
        )
    })
}

/// States that no query of the run returned a row, which usually means that host names or times in the workload match no data.
pub(super) fn no_rows(completed: u64, answers: &Answers) -> Option<String> {
    (completed > 0 && answers.rows == 0).then(|| {
        "no query returned a row: if rows are expected, check that the hosts and times of the workload match the data".to_owned()
    })
}

/// States that the executions with custom plans at the start of a connection took more or less time than the later ones.
pub(super) fn early_executions(early: &Summary, later: &Summary) -> String {
    let [first, then] = [early, later].map(|summary| duration(summary.median_ns as f64 / 1e6));
    format!(
        "the first {} executions of a statement on a connection have a median of {first}, the {} later ones {then}: PostgreSQL \
         creates a custom plan for each of the first ones, and caches were cold; --warmup excludes them",
        Execution::CUSTOM_PLANS,
        later.count
    )
}

/// States that due queries had not started when the duration ended. The argument is `(not begun, due)`.
pub(super) fn cut_off((not_begun, due): (u64, u64)) -> String {
    format!(
        "{} of {} due queries had not started when the duration ended: their waits are not included, so response times, lag and queueing \
         were higher than shown; a longer --duration includes more of them, and --repeat instead of it includes all",
        count(not_begun),
        count(due)
    )
}

/// States that queries waited for busy connections. If `fell_behind` has the load of a run that fell behind, also states that the requested
/// rate was not reached. Neither is a fault of the load generator, unless the generator was the limit. With `was_absent`, agents or
/// connections were missing for a time, and rows waited for those as well.
pub(super) fn queueing(
    fell_behind: Option<&result::Load>,
    service: &Latency,
    from: &DueTimes,
    utilization: &Utilization,
    was_absent: bool,
) -> Option<String> {
    const UNEVEN_MIN: f64 = 0.2;
    const BUSY_MIN: f64 = 0.9;
    let (name, queueing_ms, _) = highest(&from.queueing);
    let is_noticeable = queueing_ms > DELAY_MS_MAX.max(DELAY_OF_MEDIAN_MAX * service.median);
    if !is_noticeable && fell_behind.is_none() {
        return None;
    }
    let Utilization { busy_share, busy_share_max, .. } = *utilization;
    let is_uneven = busy_share_max > BUSY_MIN && busy_share_max - busy_share > UNEVEN_MIN;
    // Without a verb, because it is used in two sentences.
    let limit = match (was_absent, is_uneven) {
        (true, _) => None,
        (false, true) => Some("the busiest connection"),
        (false, false) => Some("the server or the number of connections"),
    };
    let advice = match (was_absent, is_uneven) {
        (true, _) => "; they also waited for an agent or a connection that was missing for a time",
        (false, true) => "; --placement balanced distributes the rows more evenly",
        (false, false) => "",
    };
    let busiest = match utilization.busy_share_max - utilization.busy_share > 0.1 {
        true => format!(", the busiest one {}", percent(utilization.busy_share_max)),
        false => String::new(),
    };
    let waited = format!(
        "queries waited up to {} ({name}) for a busy connection; connections were busy {} of the time{busiest}",
        duration(queueing_ms),
        percent(utilization.busy_share),
    );
    let rates = fell_behind.and_then(|load| load.scheduled_qps.zip(load.achieved_qps));
    let Some((scheduled, achieved)) = rates else {
        let limit = limit.map_or_else(String::new, |limit| format!(": {limit} is the limit"));
        return Some(format!("{waited}{limit}{advice}"));
    };
    let reached = format!("{} of {} queries/s ran", figure(achieved), figure(scheduled));
    let generator_share = utilization.generator_overhead_share.unwrap_or(0.0);
    Some(match generator_share > 0.5 || from.generator_delay.mean > from.queueing.mean {
        true => format!(
            "the rate was not reached: {reached}, and the load generator was the limit: generator delay {} (mean)",
            duration(from.generator_delay.mean)
        ),
        false => {
            let limit = limit.map_or_else(String::new, |limit| format!(", and {limit} was the limit"));
            format!("the rate was not reached: {reached}{limit}: {waited}{advice}")
        }
    })
}

/// States that records returned different results in another session.
pub(super) fn different_answers(
    differences: &Differences,
    record: &Record,
    hosts: &HostTable,
) -> Option<String> {
    let Differences { between_sessions, within_sessions, example } = differences;
    let Difference { record: row, host, sessions } = (*example)?;
    let name = |epoch: Epoch| match record.session(epoch) {
        Some(session) => format!("{} (session {epoch}, {})", session.grant.slot, session.name()),
        None => format!("session {epoch}"),
    };
    let [one, other] = sessions.map(name);
    let cause = match within_sessions {
        0 => "the agents' databases hold different data, or data changed during the run".to_owned(),
        _ => format!(
            "{} also changed within one session, so data changed during the run or the query is not deterministic",
            rows(*within_sessions)
        ),
    };
    let host = hosts.name(host);
    Some(format!(
        "{} returned different results in different sessions, such as row {row} of host '{host}' in {one} and in {other}: {cause}",
        rows(*between_sessions)
    ))
}

fn rows(count: u64) -> String {
    format!("{count} row{}", if count == 1 { "" } else { "s" })
}

/// States that the time of each query includes setting parameters and waiting for a server connection of the pooler.
pub(super) fn pooled() -> String {
    "a connection pooler is between the agents and the server: each query sets time zone, read-only mode and limits for its own \
     transaction, in the same round trip, and its time includes them and the wait for a server connection"
        .to_owned()
}

fn outlier_note(agent: &result::Agent, outlier: &Outlier) -> String {
    let [median, others] = [outlier.median_ns, outlier.others_median_ns].map(|ns| duration(ns as f64 / 1e6));
    let cause = match outlier.ratio() > 1.0 {
        true => "its machine or network may be slow, or its hosts cost more",
        false => "the other agents may be slowed down, or its hosts cost less",
    };
    let (slot, name, ratio) = (&agent.slot, &agent.name, times(outlier.ratio()));
    format!(
        "{slot} ({name}) takes {ratio} as long as the other agents, median {median} against {others}: {cause}"
    )
}

#[cfg(test)]
mod tests {
    use muster_stats::latency::Samples;

    use super::*;

    fn agent(slot: usize) -> result::Agent {
        result::Agent {
            health: None,
            slot: format!("slot-{slot}"),
            name: format!("db{slot}/4711"),
            version: String::new(),
            workers: 1,
            hosts: 1,
            queries: 100,
            completed: 100,
            failed: 0,
            service_time_ms: None,
            lost: None,
            hosts_at_end: 1,
            sessions: Vec::new(),
        }
    }

    /// The notes on agents with a hundred samples each, close to the given medians.
    fn notes(medians_ms: &[u64]) -> Vec<String> {
        let samples: Vec<[Sorted; 1]> = medians_ms
            .iter()
            .map(|ms| {
                let mut samples = Samples::default();
                (0..100).for_each(|i| samples.push(ms * 1_000_000 + i * 1_000));
                [samples.into_sorted()]
            })
            .collect();
        let agents: Vec<result::Agent> = (0..medians_ms.len()).map(agent).collect();
        let samples: Vec<Vec<&Sorted>> = samples.iter().map(|parts| parts.iter().collect()).collect();
        outlying_agents(&agents, &samples)
    }

    #[test]
    fn an_outlying_agent_is_named_with_possible_causes() {
        assert_eq!(
            notes(&[10, 10, 25, 10]),
            ["slot-2 (db2/4711) takes 2.49× as long as the other agents, median 25.0 ms against 10.0 ms: \
              its machine or network may be slow, or its hosts cost more"]
        );
        assert_eq!(
            notes(&[10, 4, 10, 10]),
            ["slot-1 (db1/4711) takes 0.40× as long as the other agents, median 4.05 ms against 10.0 ms: \
              the other agents may be slowed down, or its hosts cost less"]
        );
        assert!(notes(&[10, 10, 10]).is_empty());
    }

    #[test]
    fn a_note_says_that_latencies_are_those_of_successful_queries() {
        assert!(survivors(146, 54).unwrap().starts_with("54 of 200 queries failed: "));
        for (completed, failed) in [(200, 0), (199, 1), (0, 200), (0, 0)] {
            assert_eq!(survivors(completed, failed), None, "{completed}, {failed}");
        }
    }

    #[test]
    fn a_run_without_a_result_row_is_noted_unless_nothing_completed() {
        let rows = |rows| Answers { rows, ..Answers::default() };
        assert!(no_rows(5, &rows(0)).unwrap().starts_with("no query returned a row: "));
        assert_eq!(no_rows(5, &rows(1)), None);
        assert_eq!(no_rows(0, &rows(0)), None);
    }

    /// A latency with the same value in milliseconds for every percentile.
    fn latency(ms: f64) -> Latency {
        let mut samples = Samples::default();
        (0..1_000).for_each(|_| samples.push((ms * 1e6) as u64));
        Latency::from(&Summary::of(&[samples.into_sorted()]).unwrap())
    }

    #[test]
    fn the_limit_is_named_only_where_it_is_known() {
        let from = DueTimes {
            response: latency(51.0),
            lag: latency(50.0),
            queueing: latency(50.0),
            generator_delay: latency(0.0),
        };
        let load =
            result::Load { scheduled_qps: Some(200.0), achieved_qps: Some(100.0), ..result::Load::default() };
        let note = |busy_share, fell_behind: bool, was_absent| {
            let utilization = Utilization {
                busy_share,
                busy_share_max: 0.99,
                generator_overhead_ms: None,
                generator_overhead_share: None,
                generator_overhead_worst: None,
            };
            queueing(fell_behind.then_some(&load), &latency(1.0), &from, &utilization, was_absent).unwrap()
        };
        assert!(note(0.95, true, false).contains("the server or the number of connections was the limit"));
        assert!(note(0.95, false, false).ends_with("the server or the number of connections is the limit"));
        assert!(note(0.5, true, false).contains("the busiest connection was the limit"));
        assert!(note(0.5, true, false).ends_with("--placement balanced distributes the rows more evenly"));
        for fell_behind in [true, false] {
            let absent = note(0.5, fell_behind, true);
            assert!(
                absent.contains("an agent or a connection that was missing") && !absent.contains("limit"),
                "{absent}"
            );
        }
    }

    #[test]
    fn outlying_agents_beyond_the_maximum_are_counted() {
        let mut medians = vec![10; 20];
        medians[..7].fill(30);
        let notes = notes(&medians);
        assert_eq!(notes.len(), OUTLIERS_NAMED_MAX + 1);
        assert_eq!(notes[OUTLIERS_NAMED_MAX], "2 more agents differ from the others as much");
    }
}
