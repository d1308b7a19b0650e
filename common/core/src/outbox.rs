//! An agent's results that the coordinator has not yet acknowledged, and the credit of its workers (flow control). Results are kept until
//! they are acknowledged, even beyond the end of their session: a later session of the same run sends them again. A worker is granted a
//! window of rows beyond the acknowledged ones, so one window bounds both waiting rows and unacknowledged results.

mod window;

use std::collections::VecDeque;
use std::time::Duration;

use crate::health;
use crate::limits;
use crate::sample::Sample;
use crate::slots::Grant;
use window::Window;

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
    has_measured: bool,
    windows: Vec<Window>,
}

impl Outbox {
    pub fn new(workers: u16, inherited: Vec<Unacked>) -> Self {
        Self {
            inherited: inherited.into(),
            pending: Vec::new(),
            unacknowledged: VecDeque::new(),
            next_number: 1,
            has_measured: false,
            windows: vec![Window::new(); workers.into()],
        }
    }

    pub fn has_unacknowledged(&self) -> bool {
        !self.inherited.is_empty() || !self.pending.is_empty() || !self.unacknowledged.is_empty()
    }

    /// Returns true if a row has run in this session.
    pub fn has_measured(&self) -> bool {
        self.has_measured
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
        self.has_measured = true;
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

#[cfg(test)]
mod far_away;
#[cfg(test)]
mod tests;
