//! The Work stream: rows in, results out. Results are kept until the coordinator acknowledged them; credit follows the acknowledgements,
//! so rows waiting here and results not yet acknowledged are bounded by the same window.

use std::collections::VecDeque;
use std::time::Duration;

use muster_common::limits;
use muster_common::measurement::Measurement;
use muster_proto::v1;
use muster_proto::work::{Assign, Credit, FromAgent, FromCoordinator, Results};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

use crate::session::SessionError;

/// Hands rows to the workers and passes acknowledgements on. Never waits: credit bounds what may come.
pub(crate) async fn receive_rows(
    mut inbound: Streaming<v1::CoordinatorWork>,
    queues: Vec<mpsc::Sender<Assign>>,
    acked: watch::Sender<u64>,
) -> Result<(), SessionError> {
    while let Some(message) = inbound.message().await? {
        match message.try_into()? {
            FromCoordinator::Assign(assign) => {
                let queue = queues
                    .get(usize::from(assign.worker))
                    .ok_or(SessionError::Protocol("rows for a worker that this agent does not have"))?;
                match queue.try_send(assign) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        return Err(SessionError::Protocol("more rows than were granted"));
                    }
                    // The worker has drained; rows that cross the Drain are not run.
                    Err(mpsc::error::TrySendError::Closed(_)) => {}
                }
            }
            FromCoordinator::Ack(number) => {
                acked.send_replace(number);
            }
        }
    }
    Ok(())
}

/// Sends results in batches, and credit. Ends when all workers have ended and every result is acknowledged.
/// Returns the stream's sending half, which must outlive the session's farewell.
pub(crate) async fn send_results(
    workers: u16,
    mut measurements: mpsc::Receiver<(u16, Measurement)>,
    mut acked: watch::Receiver<u64>,
    sender: mpsc::Sender<v1::AgentWork>,
) -> Result<mpsc::Sender<v1::AgentWork>, SessionError> {
    let mut outbox = Outbox::new(workers);
    for credit in outbox.first_credits() {
        send(&sender, FromAgent::Credit(credit)).await?;
    }
    let mut is_open = true;
    while is_open || outbox.has_unacknowledged() {
        let room = limits::BATCH_ROWS_MAX - outbox.pending.len();
        let flush_at = outbox.flush_at();
        tokio::select! {
            received = measurements.recv_many(&mut outbox.pending, room), if is_open && room > 0 => {
                is_open = received > 0;
                outbox.note_arrivals(received, Instant::now());
            }
            // The coordinator is gone when this fails; the reader of its stream says why.
            changed = acked.changed() => if changed.is_err() {
                return Err(SessionError::Closed("work"));
            },
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
        }
        let number = *acked.borrow_and_update();
        for credit in outbox.acknowledge(number) {
            send(&sender, FromAgent::Credit(credit)).await?;
        }
        let is_due = !is_open || outbox.is_due(Instant::now());
        if is_due && let Some(results) = outbox.take_batch() {
            send(&sender, FromAgent::Results(results)).await?;
        }
    }
    Ok(sender)
}

async fn send(sender: &mpsc::Sender<v1::AgentWork>, message: FromAgent) -> Result<(), SessionError> {
    sender.send(message.into()).await.map_err(|_| SessionError::Closed("work"))
}

/// What is measured and not yet counted by the coordinator, and what the workers may hold.
struct Outbox {
    pending: Vec<(u16, Measurement)>,
    /// When the oldest of `pending` arrived.
    pending_since: Option<Instant>,
    /// Sent and not acknowledged, oldest first.
    unacknowledged: VecDeque<Results>,
    next_number: u64,
    windows: Vec<Window>,
}

impl Outbox {
    fn new(workers: u16) -> Self {
        Self {
            pending: Vec::with_capacity(limits::BATCH_ROWS_MAX),
            pending_since: None,
            unacknowledged: VecDeque::new(),
            next_number: 1,
            windows: vec![Window::new(); workers.into()],
        }
    }

    fn has_unacknowledged(&self) -> bool {
        !self.pending.is_empty() || !self.unacknowledged.is_empty()
    }

    fn first_credits(&self) -> Vec<Credit> {
        (0..).zip(&self.windows).map(|(worker, window)| Credit { worker, rows: window.granted }).collect()
    }

    /// Looks at the newest `count` of `pending`.
    fn note_arrivals(&mut self, count: usize, now: Instant) {
        if count > 0 {
            self.pending_since.get_or_insert(now);
        }
        let first = self.pending.len() - count;
        for (worker, measurement) in &self.pending[first..] {
            self.windows[usize::from(*worker)].measured(Duration::from_nanos(measurement.service_time_ns));
        }
    }

    fn flush_at(&self) -> Option<Instant> {
        self.pending_since.map(|since| since + limits::RESULT_LINGER)
    }

    /// A batch goes when it is full, has waited, or a worker might run dry while it waits.
    fn is_due(&self, now: Instant) -> bool {
        self.pending.len() >= limits::BATCH_ROWS_MAX
            || self.flush_at().is_some_and(|at| at <= now)
            || self.pending.iter().any(|(worker, _)| self.windows[usize::from(*worker)].is_half_used())
    }

    fn take_batch(&mut self) -> Option<Results> {
        if self.pending.is_empty() {
            return None;
        }
        self.pending_since = None;
        let measurements = std::mem::replace(&mut self.pending, Vec::with_capacity(limits::BATCH_ROWS_MAX));
        let results = Results { number: self.next_number, measurements };
        self.next_number += 1;
        for (worker, _) in &results.measurements {
            self.windows[usize::from(*worker)].flushed += 1;
        }
        self.unacknowledged.push_back(results.clone());
        Some(results)
    }

    /// Forgets what is counted and returns the credit that follows from it. Cumulative: an old number changes nothing.
    fn acknowledge(&mut self, number: u64) -> Vec<Credit> {
        if self.unacknowledged.front().is_none_or(|oldest| oldest.number > number) {
            return Vec::new();
        }
        while let Some(results) = self.unacknowledged.pop_front_if(|results| results.number <= number) {
            for (worker, _) in &results.measurements {
                self.windows[usize::from(*worker)].acknowledged += 1;
            }
        }
        let grants = (0..).zip(&mut self.windows).map(|(worker, window)| (worker, window.grant()));
        grants.filter_map(|(worker, rows)| Some(Credit { worker, rows: rows? })).collect()
    }
}

/// The rows that one worker may hold: about [`limits::CREDIT_WINDOW`] of its own work. All counts are totals of the session.
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

    /// Half of the window is run but not sent: waiting for more results would let the worker run dry.
    fn is_half_used(&self) -> bool {
        (self.measured - self.flushed) * 2 >= self.rows.into()
    }

    /// The new total, when it grew enough to be worth a message. A grant is never taken back.
    fn grant(&mut self) -> Option<u64> {
        if let Some(service_time) = self.service_time {
            let wanted = limits::CREDIT_WINDOW.as_nanos() / service_time.as_nanos().max(1);
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            // At most doubled at a time: the first few queries may not be typical.
            self.rows = wanted.min(self.rows * 2).clamp(limits::CREDIT_ROWS_MIN, limits::CREDIT_ROWS_MAX);
        }
        let total = self.acknowledged + u64::from(self.rows);
        let is_worth_it = total >= self.granted + u64::from(self.rows / 8).max(1);
        is_worth_it.then(|| {
            self.granted = total;
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_common::ids::RowId;
    use muster_common::measurement::{Answer, Outcome};

    fn measurement(row: u32, service_time: Duration) -> (u16, Measurement) {
        let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap();
        let outcome = Outcome::Completed(Answer::default());
        (0, Measurement { row: RowId::new(row), lag_ns: 0, service_time_ns, outcome })
    }

    fn run_rows(outbox: &mut Outbox, rows: std::ops::Range<u32>, service_time: Duration) {
        let count = rows.len();
        outbox.pending.extend(rows.map(|row| measurement(row, service_time)));
        outbox.note_arrivals(count, Instant::now());
    }

    #[test]
    fn the_window_grows_to_half_a_second_of_work_and_no_further() {
        let mut outbox = Outbox::new(1);
        for round in 0..20 {
            run_rows(&mut outbox, round * 10..round * 10 + 10, Duration::from_millis(1));
            let number = outbox.take_batch().unwrap().number;
            outbox.acknowledge(number);
        }
        assert_eq!(outbox.windows[0].rows, 500);
    }

    #[test]
    fn slow_queries_keep_the_least_window() {
        let mut outbox = Outbox::new(1);
        run_rows(&mut outbox, 0..1, Duration::from_secs(10));
        let number = outbox.take_batch().unwrap().number;
        let credits = outbox.acknowledge(number);
        assert_eq!(outbox.windows[0].rows, limits::CREDIT_ROWS_MIN);
        assert_eq!(credits, [], "16 rows were granted already; a grant is never taken back");
    }

    #[test]
    fn an_acknowledgement_that_comes_twice_changes_nothing() {
        let mut outbox = Outbox::new(1);
        run_rows(&mut outbox, 0..10, Duration::from_millis(1));
        let number = outbox.take_batch().unwrap().number;
        assert!(!outbox.acknowledge(number).is_empty());
        assert_eq!(outbox.acknowledge(number), []);
        assert!(!outbox.has_unacknowledged());
    }

    #[test]
    fn results_are_kept_until_they_are_acknowledged() {
        let mut outbox = Outbox::new(1);
        run_rows(&mut outbox, 0..1, Duration::from_millis(1));
        outbox.take_batch().unwrap();
        run_rows(&mut outbox, 1..2, Duration::from_millis(1));
        outbox.take_batch().unwrap();
        outbox.acknowledge(1);
        assert_eq!(outbox.unacknowledged.len(), 1);
        assert_eq!(outbox.unacknowledged[0].number, 2);
    }

    #[test]
    fn a_batch_goes_before_its_worker_runs_dry() {
        let mut outbox = Outbox::new(1);
        run_rows(&mut outbox, 0..7, Duration::from_millis(1));
        assert!(!outbox.is_due(Instant::now()));
        run_rows(&mut outbox, 7..8, Duration::from_millis(1));
        assert!(outbox.is_due(Instant::now()), "half of the first window of 16 is run");
    }
}
