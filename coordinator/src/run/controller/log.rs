//! Notes what happens: as facts in the record and the journal, as events in the report and the log, and as messages on the display.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use muster_core::ids::SlotId;
use muster_report::result::Event;
use tracing::info;

use crate::clock;
use crate::progress::ProgressDisplay;
use crate::run::live::Live;
use crate::run::record::{Fact, Record, Session};
use crate::run::servers::{Change, changes};

pub(super) struct RunLog<'a> {
    record: Record,
    /// Facts that have not been sent to the keeper yet.
    unwritten: Vec<Fact>,
    display: &'a ProgressDisplay,
    live: Live,
    listening_since: Instant,
    /// When the counted rows started, and how long they had run before. `None` before that.
    counting: Option<(Instant, Duration)>,
    /// By slot: the last session that was lost before it became ready. Removed when a session becomes ready.
    unready: BTreeMap<SlotId, UnreadyLoss>,
    /// Differences between the servers that were already reported as events.
    reported_changes: BTreeSet<String>,
}

struct UnreadyLoss {
    reason: String,
    event: Event,
}

impl<'a> RunLog<'a> {
    pub(super) fn new(display: &'a ProgressDisplay, live: Live) -> Self {
        Self {
            record: Record::default(),
            unwritten: Vec::new(),
            display,
            live,
            listening_since: clock::now(),
            counting: None,
            unready: BTreeMap::new(),
            reported_changes: BTreeSet::new(),
        }
    }

    /// Continues the record of an earlier coordinator that ran a part of this run.
    pub(super) fn resume(&mut self, record: Record) {
        let last_event_ms = record.events.last().map_or(0.0, |event| event.at_ms);
        let before = Duration::try_from_secs_f64(last_event_ms / 1e3).unwrap_or_default();
        self.listening_since = self.listening_since.checked_sub(before).unwrap_or(self.listening_since);
        self.live.resume(&record);
        self.record = record;
        self.note(Fact::Resumed);
        // These changes are already in the events.
        self.new_changes();
        self.report("the run continues where an earlier coordinator left off");
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn into_record(self) -> Record {
        self.record
    }

    pub(super) fn display(&self) -> &'a ProgressDisplay {
        self.display
    }

    pub(super) fn take_unwritten(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.unwritten)
    }

    pub(super) fn note(&mut self, fact: Fact) {
        self.live.apply(&fact);
        self.record.apply(fact.clone());
        self.unwritten.push(fact);
    }

    /// The counted rows start at this time. In a resumed run they have `ran_before` for a while.
    pub(super) fn set_start(&mut self, started: Option<Instant>, ran_before: Duration) {
        self.counting = started.map(|started| (started, ran_before));
    }

    /// The time since the start of the counted rows. `None` before that.
    pub(super) fn run_ns(&self) -> Option<u64> {
        let (started, ran_before) = self.counting?;
        let ran_for = ran_before + clock::now().checked_duration_since(started)?;
        u64::try_from(ran_for.as_nanos()).ok()
    }

    /// Notes a fact that may show another server or another state of a server. Each new change is an event.
    pub(super) fn note_with_changes(&mut self, fact: Fact) {
        self.note(fact);
        for what in self.new_changes() {
            self.report(what);
        }
    }

    /// Differences between the servers, including those of agents that will run rows. Each difference is returned once.
    fn new_changes(&mut self) -> Vec<String> {
        let takes_part = |session: &Session| session.offset_ns.is_some() || session.lost.is_none();
        let all = changes(&self.record, takes_part).into_iter().map(|Change { what, .. }| what);
        all.filter(|what| self.reported_changes.insert(what.clone())).collect()
    }

    /// Adds an event to the report and the log. `what` is a sentence that begins with its subject.
    pub(super) fn log(&mut self, what: impl Into<String>) {
        let event = self.event(what.into());
        self.note(Fact::Happened(event));
    }

    /// Adds an event to the report and shows it on the display.
    pub(super) fn report(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.display.println(&what);
        self.log(what);
    }

    /// Reports an error that ends the run. It is shown even with `--quiet`.
    pub(super) fn report_error(&mut self, what: String) {
        self.display.error(&what);
        self.log(what);
    }

    fn event(&self, what: String) -> Event {
        info!(target: "muster_coordinator::run::events", "{what}");
        let run_ms = self.run_ns().map(|ns| ns as f64 / 1e6);
        Event { run_ms, ..Event::once(clock::since(self.listening_since).as_secs_f64() * 1e3, what) }
    }

    /// Reports the loss of a session that had not become ready. Repeated losses of a slot for the same reason are one event with a count,
    /// which is shown the first time, the tenth time, the hundredth time, and so on.
    pub(super) fn report_unready_loss(&mut self, slot: SlotId, reason: &str, what: String) {
        let known = self.unready.get_mut(&slot).filter(|known| known.reason == reason);
        let event = match known {
            Some(known) => {
                known.event.times += 1;
                let event = known.event.clone();
                if event.times.ilog10() > (event.times - 1).ilog10() {
                    let what = format!("{what} ({} times)", event.times);
                    info!(target: "muster_coordinator::run::events", "{what}");
                    self.display.println(&what);
                }
                event
            }
            None => {
                self.display.println(&what);
                let event = self.event(what);
                self.unready.insert(slot, UnreadyLoss { reason: reason.to_owned(), event: event.clone() });
                event
            }
        };
        self.note(Fact::Happened(event));
    }

    /// Returns true if sessions of this slot were lost before they became ready, more than once and for the same reason.
    pub(super) fn is_lost_repeatedly(&self, slot: SlotId) -> bool {
        self.unready.get(&slot).is_some_and(|known| known.event.times > 1)
    }

    /// A session of this slot has become ready.
    pub(super) fn became_ready(&mut self, slot: SlotId) {
        self.unready.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeated_losses_before_readiness_are_one_event_until_a_session_becomes_ready() {
        let display = ProgressDisplay::silent();
        let mut log = RunLog::new(&display, Live::default());
        let slot = SlotId::new(0);
        let lose = |log: &mut RunLog<'_>, reason: &str| {
            log.report_unready_loss(slot, reason, format!("slot-0 lost: {reason}"));
            tokio::time::advance(Duration::from_secs(1))
        };
        lose(&mut log, "no database").await;
        assert!(!log.is_lost_repeatedly(slot));
        lose(&mut log, "no database").await;
        assert!(log.is_lost_repeatedly(slot));
        lose(&mut log, "killed").await;
        log.became_ready(slot);
        lose(&mut log, "killed").await;
        let events = log.record().events.iter();
        let events: Vec<_> = events.map(|event| (event.what.as_str(), event.at_ms, event.times)).collect();
        let expected = [
            ("slot-0 lost: no database", 0.0, 2),
            ("slot-0 lost: killed", 2_000.0, 1),
            ("slot-0 lost: killed", 3_000.0, 1),
        ];
        assert_eq!(events, expected);
        assert_eq!(log.take_unwritten().len(), 4, "each loss is written to the journal");
    }
}
