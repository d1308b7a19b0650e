//! How much a worker waits for rows when the coordinator is far away, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Credit, Outbox};
use crate::ids::RowId;
use crate::limits;
use crate::measurement::{Answer, Execution, Lag, Measurement, Outcome};

const STEP: Duration = Duration::from_micros(100);

/// One agent of one worker, and a coordinator that has rows without end, acknowledges at once and is half a round trip away.
struct Link {
    now: Duration,
    one_way: Duration,
    outbox: Outbox,
    /// On the way, with when they arrive: totals of credit, numbers of results; totals of rows, numbers acknowledged.
    credits: VecDeque<(Duration, u64)>,
    results: VecDeque<(Duration, u64)>,
    rows: VecDeque<(Duration, u64)>,
    acknowledgements: VecDeque<(Duration, u64)>,
    /// Rows that the worker was given, and those that it ran.
    given: u64,
    ran: u64,
    acknowledged: u64,
}

impl Link {
    /// With the first window of rows there already, as when a run starts.
    fn prefetched(round_trip: Duration) -> Self {
        let outbox = Outbox::new(1, Vec::new());
        let given = outbox.first_credits()[0].rows;
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
            given,
            ran: 0,
            acknowledged: 0,
        }
    }

    /// Runs for so long and returns for how much of it the worker had nothing to run.
    fn starved(&mut self, time: Duration, service_time: Duration) -> Duration {
        let (end, mut starved, mut busy_until) = (self.now + time, Duration::ZERO, None);
        let mut looks_at = self.now + limits::RESULT_LINGER;
        while self.now < end {
            if busy_until.is_some_and(|until| until <= self.now) {
                busy_until = None;
                self.ran += 1;
                self.outbox.add(0, measurement(service_time));
            }
            if busy_until.is_none() {
                if self.ran < self.given {
                    busy_until = Some(self.now + service_time);
                } else {
                    starved += STEP;
                }
            }
            let looks = self.now >= looks_at;
            if looks {
                looks_at += limits::RESULT_LINGER;
            }
            self.exchange(looks);
            self.now += STEP;
        }
        starved
    }

    /// What `agent/src/results.rs` does when something arrived, is due, or has lingered; and the coordinator's answers.
    fn exchange(&mut self, looks: bool) {
        self.given = arrived(&mut self.rows, self.now).unwrap_or(self.given);
        let acknowledged = arrived(&mut self.acknowledgements, self.now);
        if looks || acknowledged.is_some() || self.outbox.until_due().any(|rows| rows == 0) {
            self.acknowledged = acknowledged.unwrap_or(self.acknowledged);
            let arrives = self.now + self.one_way;
            for Credit { rows, .. } in self.outbox.acknowledge(self.acknowledged) {
                self.credits.push_back((arrives, rows));
            }
            while let Some(results) = self.outbox.take_batch() {
                self.results.push_back((arrives, results.number));
            }
        }
        let answers = self.now + self.one_way;
        self.rows.extend(arrived(&mut self.credits, self.now).map(|rows| (answers, rows)));
        self.acknowledgements.extend(arrived(&mut self.results, self.now).map(|number| (answers, number)));
    }
}

/// The last of those that are there by now; all of them are totals.
fn arrived(on_the_way: &mut VecDeque<(Duration, u64)>, now: Duration) -> Option<u64> {
    let mut last = None;
    while let Some((_, total)) = on_the_way.pop_front_if(|(arrives, _)| *arrives <= now) {
        last = Some(total);
    }
    last
}

fn measurement(service_time: Duration) -> Measurement {
    let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap();
    let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
    Measurement { row: RowId::new(0), start_ns: 0, lag: Lag::default(), service_time_ns, execution, outcome }
}

#[test]
fn a_worker_starves_for_less_than_one_round_trip_when_the_coordinator_is_far_away() {
    let round_trip = Duration::from_millis(100);
    for service_time_ms in [1, 2, 5, 20, 100] {
        let service_time = Duration::from_millis(service_time_ms);
        let mut link = Link::prefetched(round_trip);
        let start = link.starved(Duration::from_secs(1), service_time);
        let later = link.starved(Duration::from_secs(4), service_time);
        let held =
            (link.outbox.kept().bound, limits::CREDIT_WINDOW.as_millis() / u128::from(service_time_ms));
        eprintln!("{service_time_ms} ms: {start:?} of the first second, {later:?} later, {held:?}");
        assert!(start < round_trip, "queries of {service_time:?} starve for {start:?} at the start");
        assert_eq!(later, Duration::ZERO, "queries of {service_time:?} starve later");
        assert!(
            u128::from(held.0) <= held.1.max(limits::CREDIT_ROWS_FIRST.into()),
            "an agent holds {held:?}"
        );
    }
}
