//! An agent's results that the coordinator has not yet acknowledged, and the credit of its workers (flow control). Results are kept until
//! they are acknowledged, even beyond the end of their session: a later session of the same run sends them again. A worker is granted a
//! window of rows beyond the acknowledged ones, so one window bounds both waiting rows and unacknowledged results.

use std::collections::VecDeque;
use std::time::Duration;

use crate::health;
use crate::limits;
use crate::sample::Sample;
use crate::slots::Grant;

/// A message of measurements. Messages are numbered from 1 without gaps within a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    pub number: u64,
    /// The earlier session that measured them; `None` for the sending session.
    pub ran_under: Option<Grant>,
    /// Each with the index of its worker.
    pub measurements: Vec<(u16, Sample)>,
}

/// Permission to send a worker `rows` rows in total since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    pub worker: u16,
    pub rows: u64,
}

/// Results of a session that ended before they were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unacked {
    pub ran_under: Grant,
    pub measurements: Vec<(u16, Sample)>,
}

/// The results of one session, including those that it inherited from earlier sessions.
#[derive(Debug)]
pub struct Outbox {
    /// Results of earlier sessions that this session has not sent yet.
    inherited: VecDeque<Unacked>,
    pending: Vec<(u16, Sample)>,
    /// Sent but not acknowledged, oldest first.
    unacknowledged: VecDeque<Results>,
    next_number: u64,
    windows: Vec<Window>,
}

impl Outbox {
    pub fn new(workers: u16, inherited: Vec<Unacked>) -> Self {
        Self {
            inherited: inherited.into(),
            pending: Vec::new(),
            unacknowledged: VecDeque::new(),
            next_number: 1,
            windows: vec![Window::new(); workers.into()],
        }
    }

    pub fn has_unacknowledged(&self) -> bool {
        !self.inherited.is_empty() || !self.pending.is_empty() || !self.unacknowledged.is_empty()
    }

    /// Returns true if a row has run in this session.
    pub fn has_measured(&self) -> bool {
        self.windows.iter().any(|window| window.measured > 0)
    }

    /// Returns the number of unacknowledged results, including inherited ones.
    pub fn unacknowledged(&self) -> usize {
        let inherited = self.inherited.iter().map(|unacked| unacked.measurements.len());
        let sent = self.unacknowledged.iter().map(|results| results.measurements.len());
        self.pending.len() + inherited.chain(sent).sum::<usize>()
    }

    /// Returns no credit while inherited results are unacknowledged: together with new rows, they would be unbounded.
    pub fn first_credits(&self) -> Vec<Credit> {
        if self.holds_inherited() { Vec::new() } else { self.credits() }
    }

    fn holds_inherited(&self) -> bool {
        !self.inherited.is_empty() || self.unacknowledged.iter().any(|results| results.ran_under.is_some())
    }

    fn credits(&self) -> Vec<Credit> {
        (0..).zip(&self.windows).map(|(worker, window)| Credit { worker, rows: window.granted }).collect()
    }

    pub fn add(&mut self, worker: u16, measurement: Sample) {
        self.windows[usize::from(worker)].measured(Duration::from_nanos(measurement.service_time_ns));
        self.pending.push((worker, measurement));
    }

    /// Returns, for each worker, the number of further measurements after which all pending ones must be sent; otherwise it might run dry.
    pub fn until_due(&self) -> impl Iterator<Item = u64> {
        self.windows.iter().map(Window::until_due)
    }

    /// Records that a worker did not run some of its rows because the run's time was over. Returns the credit for other rows.
    pub fn note_left_out(&mut self, worker: u16, rows: u64) -> Option<Credit> {
        let window = &mut self.windows[usize::from(worker)];
        (window.measured, window.flushed) = (window.measured + rows, window.flushed + rows);
        window.acknowledged += rows;
        window.grant().map(|rows| Credit { worker, rows })
    }

    /// Returns the next message; inherited results come first.
    pub fn take_batch(&mut self) -> Option<Results> {
        if let Some(Unacked { ran_under, measurements }) = self.inherited.pop_front() {
            return Some(self.number(Some(ran_under), measurements));
        }
        if self.pending.is_empty() {
            return None;
        }
        // A message contains results of one round only.
        let round = self.pending[0].1.execution.round;
        let end = self.pending.iter().position(|(_, measurement)| measurement.execution.round != round);
        let end = end.unwrap_or(self.pending.len()).min(limits::BATCH_ROWS_MAX);
        let others = self.pending.split_off(end);
        let measurements = std::mem::replace(&mut self.pending, others);
        for (worker, _) in &measurements {
            self.windows[usize::from(*worker)].flushed += 1;
        }
        Some(self.number(None, measurements))
    }

    fn number(&mut self, ran_under: Option<Grant>, measurements: Vec<(u16, Sample)>) -> Results {
        let results = Results { number: self.next_number, ran_under, measurements };
        self.next_number += 1;
        self.unacknowledged.push_back(results.clone());
        results
    }

    /// Removes acknowledged results, and returns the credit that follows from them and from the latest measurements. Acknowledgements are
    /// cumulative, so an old number has no effect.
    pub fn acknowledge(&mut self, number: u64) -> Vec<Credit> {
        let held_inherited = self.holds_inherited();
        while let Some(results) = self.unacknowledged.pop_front_if(|results| results.number <= number) {
            if results.ran_under.is_some() {
                continue;
            }
            for (worker, _) in &results.measurements {
                self.windows[usize::from(*worker)].acknowledged += 1;
            }
        }
        if held_inherited {
            return self.first_credits();
        }
        let grants = (0..).zip(&mut self.windows).map(|(worker, window)| (worker, window.grant()));
        grants.filter_map(|(worker, rows)| Some(Credit { worker, rows: rows? })).collect()
    }

    /// Returns the number of unacknowledged results of this session, and its bound: the number of granted rows that are unacknowledged.
    pub fn unacked(&self) -> health::Unacked {
        let sum = |of: fn(&Window) -> u64| self.windows.iter().map(of).sum();
        health::Unacked {
            most: sum(|window| window.measured - window.acknowledged),
            bound: sum(|window| window.granted - window.acknowledged),
        }
    }

    /// Returns the inherited results, for a session that was never granted a slot.
    pub fn into_inherited(self) -> Vec<Unacked> {
        self.inherited.into()
    }

    /// Returns all unacknowledged results when the session of `grant` has ended, for the next session.
    pub fn into_unacked(mut self, grant: Grant) -> Vec<Unacked> {
        while self.take_batch().is_some() {}
        let all = self.unacknowledged.into_iter().map(|Results { ran_under, measurements, number: _ }| {
            Unacked { ran_under: ran_under.unwrap_or(grant), measurements }
        });
        all.filter(|unacked| !unacked.measurements.is_empty()).collect()
    }
}

/// The rows that one worker may hold: about [`limits::CREDIT_WINDOW`] of work. All counts are totals of the session.
#[derive(Debug, Clone)]
struct Window {
    rows: u32,
    /// Smoothed service time.
    service_time: Option<Duration>,
    granted: u64,
    measured: u64,
    flushed: u64,
    acknowledged: u64,
}

impl Window {
    fn new() -> Self {
        Self {
            rows: limits::CREDIT_ROWS_FIRST,
            service_time: None,
            granted: limits::CREDIT_ROWS_FIRST.into(),
            measured: 0,
            flushed: 0,
            acknowledged: 0,
        }
    }

    fn measured(&mut self, service_time: Duration) {
        self.measured += 1;
        self.service_time = Some(match self.service_time {
            None => service_time,
            Some(smoothed) => (smoothed * 7 + service_time) / 8,
        });
    }

    /// Returns how many more rows may run before results must be sent: normally until half of the window is unsent. At first results are
    /// sent sooner, after two rows and after half of the first window, because each exchange lets the window grow, and new rows need time
    /// to arrive while the first ones run. Not after one row: all workers start at the same moment, and sending the first results would
    /// delay the start of the others.
    fn until_due(&self) -> u64 {
        let half = u64::from(self.rows).div_ceil(2);
        let first_half = u64::from(limits::CREDIT_ROWS_FIRST / 2);
        let due = match self.flushed {
            0 => 2,
            flushed if flushed < first_half => (first_half - flushed).min(half),
            _ => half,
        };
        due.saturating_sub(self.measured - self.flushed)
    }

    /// Returns the new total if it has grown enough to justify a message. A grant is never revoked.
    fn grant(&mut self) -> Option<u64> {
        if let Some(service_time) = self.service_time {
            let wanted = limits::CREDIT_WINDOW.as_nanos() / service_time.as_nanos().max(1);
            // The first few queries may not be typical, so each query adds at most the size of the first window. Growth depends on queries
            // rather than acknowledgements, because over a slow link the worker would run dry before the first acknowledgement.
            let most = u128::from(limits::CREDIT_ROWS_FIRST) * (1 + u128::from(self.measured));
            let rows = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
            self.rows = rows.clamp(limits::CREDIT_ROWS_MIN, limits::CREDIT_ROWS_MAX);
        }
        let total = self.acknowledged + u64::from(self.rows);
        let is_worth_sending = total >= self.granted + u64::from(self.rows / 4).max(1);
        is_worth_sending.then(|| {
            self.granted = total;
            total
        })
    }
}

#[cfg(test)]
mod far_away;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, RowId, SlotId};
    use crate::sample::{Answer, Execution, Lag, Outcome};

    fn measurement(row: u32, service_time: Duration) -> (u16, Sample) {
        let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap();
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(row);
        (0, Sample { row, start_ns: 0, lag: Lag::default(), service_time_ns, execution, outcome })
    }

    fn run_rows(outbox: &mut Outbox, rows: std::ops::Range<u32>, service_time: Duration) {
        for row in rows {
            let (worker, measurement) = measurement(row, service_time);
            outbox.add(worker, measurement);
        }
    }

    #[test]
    fn the_window_grows_to_half_a_second_of_work_and_no_further() {
        let mut outbox = Outbox::new(1, Vec::new());
        for round in 0..20 {
            run_rows(&mut outbox, round * 10..round * 10 + 10, Duration::from_millis(1));
            let number = outbox.take_batch().unwrap().number;
            outbox.acknowledge(number);
        }
        assert_eq!(outbox.windows[0].rows, 500);
    }

    #[test]
    fn slow_queries_get_the_smallest_window() {
        let mut outbox = Outbox::new(1, Vec::new());
        run_rows(&mut outbox, 0..1, Duration::from_secs(10));
        let number = outbox.take_batch().unwrap().number;
        let credits = outbox.acknowledge(number);
        assert_eq!(outbox.windows[0].rows, limits::CREDIT_ROWS_MIN);
        assert_eq!(credits, [], "16 rows were granted before; a grant is never revoked");
    }

    #[test]
    fn a_repeated_acknowledgement_has_no_effect() {
        let mut outbox = Outbox::new(1, Vec::new());
        run_rows(&mut outbox, 0..10, Duration::from_millis(1));
        let number = outbox.take_batch().unwrap().number;
        assert!(!outbox.acknowledge(number).is_empty());
        assert_eq!(outbox.acknowledge(number), []);
        assert!(!outbox.has_unacknowledged());
    }

    #[test]
    fn results_are_kept_until_they_are_acknowledged() {
        let mut outbox = Outbox::new(1, Vec::new());
        run_rows(&mut outbox, 0..1, Duration::from_millis(1));
        outbox.take_batch().unwrap();
        run_rows(&mut outbox, 1..2, Duration::from_millis(1));
        outbox.take_batch().unwrap();
        assert_eq!(outbox.unacked(), health::Unacked { most: 2, bound: limits::CREDIT_ROWS_FIRST.into() });
        outbox.acknowledge(1);
        assert_eq!(outbox.unacked().most, 1);
        assert_eq!(outbox.unacknowledged.len(), 1);
        assert_eq!(outbox.unacknowledged[0].number, 2);
    }

    #[test]
    fn results_are_sent_when_half_of_the_window_is_unsent() {
        let mut outbox = Outbox::new(1, Vec::new());
        run_rows(&mut outbox, 0..8, Duration::from_millis(1));
        outbox.take_batch().unwrap();
        assert!(outbox.until_due().eq([8]), "of a first window of 16");
        run_rows(&mut outbox, 8..13, Duration::from_millis(1));
        assert!(outbox.until_due().eq([3]));
        run_rows(&mut outbox, 13..28, Duration::from_millis(1));
        assert!(outbox.until_due().eq([0]));
        outbox.take_batch().unwrap();
        assert!(outbox.until_due().eq([8]), "sent results do not count");
    }

    #[test]
    fn the_first_two_results_are_sent_at_once_and_let_the_window_grow() {
        let mut outbox = Outbox::new(1, Vec::new());
        assert!(outbox.until_due().eq([2]));
        run_rows(&mut outbox, 0..2, Duration::from_millis(1));
        assert!(outbox.until_due().eq([0]));
        assert_eq!(
            outbox.acknowledge(0),
            [Credit { worker: 0, rows: 48 }],
            "each adds the size of the first window"
        );
        assert_eq!(outbox.acknowledge(0), [], "only once");
        outbox.take_batch().unwrap();
        assert!(outbox.until_due().eq([6]));
    }

    #[test]
    fn a_message_has_at_most_a_batch_of_rows() {
        let mut outbox = Outbox::new(1, Vec::new());
        let rows = u32::try_from(limits::BATCH_ROWS_MAX).unwrap() + 1;
        run_rows(&mut outbox, 0..rows, Duration::from_millis(1));
        let unacked = outbox.into_unacked(Grant { slot: SlotId::new(0), epoch: Epoch::new(1) });
        let sizes: Vec<usize> = unacked.iter().map(|unacked| unacked.measurements.len()).collect();
        assert_eq!(sizes, [limits::BATCH_ROWS_MAX, 1]);
    }

    #[test]
    fn a_later_session_sends_unacknowledged_results_again() {
        let grant = |epoch| Grant { slot: SlotId::new(0), epoch: Epoch::new(epoch) };
        let rows_of =
            |unacked: &Unacked| unacked.measurements.iter().map(|(_, m)| m.row.get()).collect::<Vec<_>>();
        let mut first = Outbox::new(1, Vec::new());
        for row in 0..3 {
            run_rows(&mut first, row..row + 1, Duration::from_millis(1));
            first.take_batch().unwrap();
        }
        run_rows(&mut first, 3..4, Duration::from_millis(1));
        first.acknowledge(1);
        let unacked = first.into_unacked(grant(1));
        assert_eq!(unacked.iter().map(rows_of).collect::<Vec<_>>(), [[1], [2], [3]]);

        let mut second = Outbox::new(1, unacked);
        assert_eq!(second.first_credits(), [], "no new rows before the inherited results are acknowledged");
        let sent: Vec<Results> = std::iter::from_fn(|| second.take_batch()).collect();
        assert!(sent.iter().all(|results| results.ran_under == Some(grant(1))));
        assert_eq!(sent.iter().map(|results| results.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(second.acknowledge(2), []);
        let credit = Credit { worker: 0, rows: limits::CREDIT_ROWS_FIRST.into() };
        assert_eq!(
            second.acknowledge(3),
            [credit],
            "all are acknowledged, so the session gets its first credit"
        );

        run_rows(&mut second, 4..5, Duration::from_millis(1));
        let unacked = second.into_unacked(grant(2));
        assert_eq!((unacked.len(), unacked[0].ran_under, rows_of(&unacked[0])), (1, grant(2), vec![4]));
    }

    #[test]
    fn a_message_contains_results_of_one_round() {
        let mut outbox = Outbox::new(1, Vec::new());
        for (row, round) in [(0, 1), (1, 1), (0, 2)] {
            let (worker, measured) = measurement(row, Duration::from_millis(1));
            let execution = Execution { round, ..Execution::default() };
            outbox.add(worker, Sample { execution, ..measured });
        }
        let sizes: Vec<usize> =
            std::iter::from_fn(|| outbox.take_batch()).map(|results| results.measurements.len()).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn rows_that_were_not_run_return_their_credit() {
        let mut outbox = Outbox::new(1, Vec::new());
        let credit = outbox.note_left_out(0, 16);
        assert_eq!(credit, Some(Credit { worker: 0, rows: 32 }), "16 more, with the first window");
    }
}
