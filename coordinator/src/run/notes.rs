//! What in a run deserves a look although it does not change the verdict: plain sentences. Pure.

use muster_common::latency::{Sorted, Summary};
use muster_common::measurement::Execution;
use muster_common::result;
use muster_common::statistics::outlying::{Outlier, outlying};

use crate::output::units::{duration, times};

/// Of as many a person hears; so many together are no oddity any more.
const OUTLIERS_NAMED_MAX: usize = 5;

/// The agents whose latencies are not those of the others. `samples` are those of each agent's workers, in the same order.
pub(super) fn outlying_agents(agents: &[result::Agent], samples: &[Vec<&Sorted>]) -> Vec<String> {
    let outliers = outlying(samples);
    let mut notes: Vec<String> = outliers
        .iter()
        .take(OUTLIERS_NAMED_MAX)
        .filter_map(|outlier| Some(sentence(agents.get(outlier.agent)?, outlier)))
        .collect();
    if let Some(more) = outliers.len().checked_sub(OUTLIERS_NAMED_MAX).filter(|more| *more > 0) {
        notes.push(format!("{more} more agents are as far from the others"));
    }
    notes
}

/// That the executions which PostgreSQL plans anew took longer or less time than the others.
pub(super) fn early_executions(early: &Summary, later: &Summary) -> String {
    let [first, then] = [early, later].map(|summary| duration(summary.median_ns as f64 / 1e6));
    format!(
        "the first {} executions of a statement on its connection have a median of {first}, the {} later ones {then}: PostgreSQL \
         plans the first ones anew, and caches were cold; --warmup leaves them out",
        Execution::CUSTOM_PLANS,
        later.count
    )
}

fn sentence(agent: &result::Agent, outlier: &Outlier) -> String {
    let [median, others] = [outlier.median_ns, outlier.others_median_ns].map(|ns| duration(ns as f64 / 1e6));
    let look = match outlier.ratio() > 1.0 {
        true => "its machine or network may be slow, or its hosts cost more",
        false => "the others may be held up, or its hosts cost less",
    };
    let (slot, name, ratio) = (&agent.slot, &agent.name, times(outlier.ratio()));
    format!(
        "{slot} ({name}) takes {ratio} as long as the other agents, median {median} against {others}: {look}"
    )
}

#[cfg(test)]
mod tests {
    use muster_common::latency::Samples;

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

    /// Agents of a hundred samples each, evenly about so many ms.
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
    fn an_outlying_agent_is_named_with_what_to_look_at() {
        assert_eq!(
            notes(&[10, 10, 25, 10]),
            ["slot-2 (db2/4711) takes 2.49× as long as the other agents, median 25.0 ms against 10.0 ms: \
              its machine or network may be slow, or its hosts cost more"]
        );
        assert_eq!(
            notes(&[10, 4, 10, 10]),
            ["slot-1 (db1/4711) takes 0.40× as long as the other agents, median 4.05 ms against 10.0 ms: \
              the others may be held up, or its hosts cost less"]
        );
        assert!(notes(&[10, 10, 10]).is_empty());
    }

    #[test]
    fn many_are_counted() {
        let mut medians = vec![10; 20];
        medians[..7].fill(30);
        let notes = notes(&medians);
        assert_eq!(notes.len(), OUTLIERS_NAMED_MAX + 1);
        assert_eq!(notes[OUTLIERS_NAMED_MAX], "2 more agents are as far from the others");
    }
}
