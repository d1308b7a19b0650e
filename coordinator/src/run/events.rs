//! What happened in a run, and when: joined, lost, started, ended. Goes into every report and to the log.

use std::time::Instant;

use muster_common::result;
use tracing::info;

#[derive(Debug)]
pub(crate) struct EventLog {
    since: Instant,
    events: Vec<result::Event>,
}

impl EventLog {
    pub(crate) fn new(since: Instant) -> Self {
        Self { since, events: Vec::new() }
    }

    /// `what` is a plain sentence that begins with its subject.
    pub(crate) fn record(&mut self, what: String) {
        info!("{what}");
        let at_ms = self.since.elapsed().as_secs_f64() * 1e3;
        self.events.push(result::Event { at_ms, what });
    }

    pub(crate) fn into_events(self) -> Vec<result::Event> {
        self.events
    }
}
