//! Simulates in virtual time how long a worker waits for rows if the network latency to the coordinator is high.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Credit, Outbox};
use crate::ids::RowId;
use crate::limits;
use crate::sample::{Answer, Execution, Outcome, Sample};

const STEP: Duration = Duration::from_micros(100);

/// An agent with one worker, and a coordinator half a round trip away that has unlimited rows and acknowledges at once.
struct Link {
    now: Duration,
    one_way: Duration,
    outbox: Outbox,
    /// Messages in transit with their arrival times: credit totals, result numbers, row totals and acknowledged numbers.
    credits: VecDeque<(Duration, u64)>,
    results: VecDeque<(Duration, u64)>,
    rows: VecDeque<(Duration, u64)>,
    acknowledgements: VecDeque<(Duration, u64)>,
    /// Total of rows that the worker has received.
    received: u64,
    /// Total of rows that the worker has run.
    ran: u64,
    acknowledged: u64,
}

impl Link {
    /// Starts with the first window of rows prefetched, as at the start of a run.
    fn prefetched(round_trip: Duration) -> Self {
        let outbox = Outbox::new(1, Vec::new());
        let received = outbox.first_credits()[0].rows;
        let (credits, results, rows, acknowledgements) =
            (VecDeque::new(), VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (now, one_way) = (Duration::ZERO, round_trip / 2);
        Self {
            now,
            one_way,
            outbox,
            credits,
            results,
            rows,
            acknowledgements,
            received,
            ran: 0,
            acknowledged: 0,
        }
    }

    /// Runs for `time` and returns for how long the worker had no row to run.
    fn starved_time(&mut self, time: Duration, service_time: Duration) -> Duration {
        let (end, mut starved, mut busy_until) = (self.now + time, Duration::ZERO, None);
        let mut next_flush = self.now + limits::RESULT_LINGER;
        while self.now < end {
            if busy_until.is_some_and(|until| until <= self.now) {
                busy_until = None;
                self.ran += 1;
                self.outbox.add(0, measurement(service_time));
            }
            if busy_until.is_none() {
                if self.ran < self.received {
                    busy_until = Some(self.now + service_time);
                } else {
                    starved += STEP;
                }
            }
            let flushes = self.now >= next_flush;
            if flushes {
                next_flush += limits::RESULT_LINGER;
            }
            self.exchange(flushes);
            self.now += STEP;
        }
        starved
    }

    /// Simulates `agent/src/result_sender.rs`, which exchanges messages when one has arrived, or when results are due or have lingered; and the
    /// coordinator's replies.
    fn exchange(&mut self, flushes: bool) {
        self.received = arrived(&mut self.rows, self.now).unwrap_or(self.received);
        let acknowledged = arrived(&mut self.acknowledgements, self.now);
        if flushes || acknowledged.is_some() || self.outbox.until_due().any(|rows| rows == 0) {
            self.acknowledged = acknowledged.unwrap_or(self.acknowledged);
            let arrives = self.now + self.one_way;
            for Credit { rows, .. } in self.outbox.acknowledge(self.acknowledged) {
                self.credits.push_back((arrives, rows));
            }
            while let Some(results) = self.outbox.take_batch() {
                self.results.push_back((arrives, results.number));
            }
        }
        let reply_at = self.now + self.one_way;
        self.rows.extend(arrived(&mut self.credits, self.now).map(|rows| (reply_at, rows)));
        self.acknowledgements.extend(arrived(&mut self.results, self.now).map(|number| (reply_at, number)));
    }
}

/// Returns the last total that has arrived by now.
fn arrived(in_transit: &mut VecDeque<(Duration, u64)>, now: Duration) -> Option<u64> {
    let mut last = None;
    while let Some((_, total)) = in_transit.pop_front_if(|(arrives, _)| *arrives <= now) {
        last = Some(total);
    }
    last
}

fn measurement(service_time: Duration) -> Sample {
    let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap();
    let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
    Sample { service_time_ns, execution, outcome, ..Sample::zero(RowId::new(0)) }
}

#[test]
fn a_worker_starves_for_less_than_one_round_trip_when_the_coordinator_is_far_away() {
    let round_trip = Duration::from_millis(100);
    for service_time_ms in [1, 2, 5, 20, 100] {
        let service_time = Duration::from_millis(service_time_ms);
        let mut link = Link::prefetched(round_trip);
        let start = link.starved_time(Duration::from_secs(1), service_time);
        let later = link.starved_time(Duration::from_secs(4), service_time);
        let held =
            (link.outbox.unacked().bound, limits::CREDIT_WINDOW.as_millis() / u128::from(service_time_ms));
        eprintln!(
            "{service_time_ms} ms: starved {start:?} in the first second, {later:?} later; holds {held:?} rows"
        );
        assert!(start < round_trip, "queries of {service_time:?} starve for {start:?} at the start");
        assert_eq!(later, Duration::ZERO, "queries of {service_time:?} starve later");
        assert!(
            u128::from(held.0) <= held.1.max(limits::CREDIT_ROWS_FIRST.into()),
            "an agent holds {held:?} rows"
        );
    }
}
