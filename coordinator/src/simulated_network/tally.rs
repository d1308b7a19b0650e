//! What happened in many runs: a fault that never bites proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use muster_common::result::Ending;

use super::coordinator::Ended;

#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

/// What the events of a report say, and what that is.
const EVENTS: [(&str, &str); 11] = [
    ("no beat for", "lost: silent"),
    ("connection broke", "lost: broken"),
    ("its agent joined anew", "lost: joined anew"),
    ("handed back", "left"),
    ("goes on with", "replaced"),
    ("which stood by", "replaced by one that stood by"),
    ("given up: its hosts", "hosts moved"),
    ("of the lost session ended", "backends ended"),
    ("it is not known whether", "backends not ended"),
    ("the run goes on where", "coordinator resumed"),
    ("is run no more", "row quarantined"),
];

impl Tally {
    pub(super) fn add(&mut self, ended: &Ended) {
        let mut count = |what, times| *self.0.entry(what).or_default() += times;
        let result = match ended {
            Ended::Reported(result) => result,
            Ended::NothingLeft => return count("run: nothing left to resume", 1),
            Ended::Failed(_) => return count("run: failed", 1),
        };
        match result.ending {
            Ending::Completed => count("run: completed", 1),
            Ending::AgentsLost => count("run: agents lost", 1),
            _ => count("run: ended otherwise", 1),
        }
        for (words, what) in EVENTS {
            let times = result.events.iter().filter(|event| event.what.contains(words)).count();
            count(what, times as u64);
        }
        count("row retried", result.queries.retried);
        count("result dropped: duplicate", result.queries.duplicates);
        count("result dropped: stale", result.queries.stale);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let Self(counts) = other;
        for (what, times) in counts {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// What should have come and did not.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let rare = ["row quarantined", "lost: joined anew"];
        let wanted = EVENTS.iter().map(|(_, what)| *what).chain(["run: completed", "row retried"]);
        wanted
            .filter(|what| !rare.contains(what) && self.0.get(what).is_none_or(|times| *times == 0))
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "{times:>8} {what}"))
    }
}
