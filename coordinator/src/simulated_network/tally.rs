//! Counts the events of many runs, to check that every kind of fault occurred and had an effect.

use std::collections::BTreeMap;
use std::fmt;

use muster_report::result::Ending;

use super::site::Ended;

#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

/// A part of each event message in a report, and the name under which the event is counted.
const EVENTS: [(&str, &str); 11] = [
    ("no heartbeat for", "lost: silent"),
    ("connection broke", "lost: broken"),
    ("its agent joined again", "lost: joined again"),
    ("handed back", "left"),
    ("continues with", "replaced"),
    ("taken over by standby", "replaced by a standby"),
    ("given up: its hosts", "hosts moved"),
    ("of the lost session ended", "backends ended"),
    ("it is not known whether", "backends not ended"),
    ("the run continues where", "coordinator resumed"),
    ("is not run again", "row quarantined"),
];

const LATE: &str = "result counted after its session was lost";

impl Tally {
    /// `counted_late` is the number of results that counted after the loss of their session.
    pub(super) fn add(&mut self, ended: &Ended, counted_late: u64) {
        let mut count = |what, times| *self.0.entry(what).or_default() += times;
        count(LATE, counted_late);
        let result = match ended {
            Ended::Reported(result) => result,
            Ended::NothingLeft => return count("run: nothing left to resume", 1),
            Ended::Failed(_) => return count("run: failed", 1),
        };
        match result.ending {
            Ending::Completed => count("run: completed", 1),
            Ending::AgentsLost => count("run: agents lost", 1),
            _ => count("run: other ending", 1),
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

    /// The events that should have occurred but did not.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let others = ["run: completed", "row retried", "result dropped: duplicate", LATE];
        let expected = EVENTS.iter().map(|(_, what)| *what).chain(others);
        expected.filter(|what| self.0.get(what).is_none_or(|times| *times == 0)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "{times:>8} {what}"))
    }
}
