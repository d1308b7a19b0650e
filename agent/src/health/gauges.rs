//! Counters of workers and streams for the health samples. Most are relaxed atomics. Updating one takes a few instructions, and workers do
//! it only between queries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_core::health::{HealthSample, RunQueue, Starved, StarvedWorker, Unacked};
use muster_process::health::Scheduled;

use super::run_queue::{Registered, Threads};
use crate::clock::nanoseconds;

#[derive(Debug)]
pub(crate) struct Gauges {
    /// When the first worker began the round.
    first_start: Mutex<Option<Instant>>,
    /// One entry per worker.
    waits: Box<[Waits]>,
    /// The maximum since the last sample.
    unacked: Mutex<Unacked>,
    /// The maximum since the last sample.
    round_trip_ns: AtomicU64,
    /// The worker threads.
    threads: Arc<Threads>,
    /// Sum of the service times since the session began.
    in_flight_ns: AtomicU64,
    reported: Mutex<Reported>,
}

/// A worker's waits for rows since the session began.
#[derive(Debug, Default)]
struct Waits {
    times: AtomicU64,
    time_ns: AtomicU64,
}

/// The values at the last sample of the counters that count since the session began.
#[derive(Debug, Default)]
struct Reported {
    times: u64,
    time_ns: u64,
    /// One entry per thread.
    scheduled: Vec<Option<Scheduled>>,
    in_flight_ns: u64,
}

impl Gauges {
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            first_start: Mutex::default(),
            waits: (0..workers).map(|_| Waits::default()).collect(),
            unacked: Mutex::default(),
            round_trip_ns: AtomicU64::new(0),
            threads: Arc::default(),
            in_flight_ns: AtomicU64::new(0),
            reported: Mutex::default(),
        }
    }

    /// Records that a worker begins its round.
    pub(crate) fn record_start(&self, now: Instant) {
        let mut first = lock(&self.first_start);
        *first = Some(first.map_or(now, |first| first.min(now)));
    }

    /// Returns when the first worker began the round.
    pub(crate) fn first_start(&self) -> Option<Instant> {
        *lock(&self.first_start)
    }

    /// Called before each round.
    pub(crate) fn reset_start(&self) {
        *lock(&self.first_start) = None;
    }

    /// Called when a worker needs a row. Returns the start of its wait if its queue `is_empty`. The caller passes it to
    /// [`record_wait`](Self::record_wait) when a row arrives. It drops it otherwise, because a worker that has run all of its rows is not
    /// starved.
    pub(crate) fn starts_waiting(&self, is_empty: bool) -> Option<Instant> {
        is_empty.then(Instant::now)
    }

    pub(crate) fn record_wait(&self, worker: u16, waited_since: Option<Instant>) {
        let (Some(since), Some(waits)) = (waited_since, self.waits.get(usize::from(worker))) else { return };
        waits.times.fetch_add(1, Ordering::Relaxed);
        waits.time_ns.fetch_add(nanoseconds(since.elapsed()), Ordering::Relaxed);
    }

    /// Records the number of results that are not yet acknowledged.
    pub(crate) fn record_unacked(&self, unacked: Unacked) {
        lock(&self.unacked).merge(&unacked);
    }

    /// Records the round trip of a heartbeat.
    pub(crate) fn record_round_trip(&self, round_trip: Duration) {
        self.round_trip_ns.fetch_max(nanoseconds(round_trip), Ordering::Relaxed);
    }

    /// Registers the calling thread as a worker's until the returned value is dropped.
    pub(crate) fn register_thread(&self) -> Registered {
        self.threads.register()
    }

    /// Adds the service times of queries that have ended. Called by the task that receives the results, not by the workers.
    pub(crate) fn add_in_flight(&self, in_flight_ns: u64) {
        self.in_flight_ns.fetch_add(in_flight_ns, Ordering::Relaxed);
    }

    /// Discards everything that was counted until now, because it is not part of the run.
    pub(crate) fn reset(&self) {
        self.fill(&mut HealthSample::default());
    }

    /// Sets the fields of `sample` to what was counted since the last call.
    pub(super) fn fill(&self, sample: &mut HealthSample) {
        let mut reported = lock(&self.reported);
        let mut now = Reported {
            scheduled: self.threads.read(),
            in_flight_ns: self.in_flight_ns.load(Ordering::Relaxed),
            ..Reported::default()
        };
        let mut worst = None::<StarvedWorker>;
        for (index, waits) in (0u16..).zip(&self.waits) {
            let time_ns = waits.time_ns.load(Ordering::Relaxed);
            now.times += waits.times.load(Ordering::Relaxed);
            now.time_ns += time_ns;
            if time_ns > worst.map_or(0, |worst| worst.time_ns) {
                worst = Some(StarvedWorker { index, time_ns });
            }
        }
        sample.starved =
            Starved { times: now.times - reported.times, time_ns: now.time_ns - reported.time_ns, worst };
        sample.run_queue = run_queue(&reported, &now);
        *reported = now;
        sample.kept = std::mem::take(&mut *lock(&self.unacked));
        sample.round_trip_ns = self.round_trip_ns.swap(0, Ordering::Relaxed);
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the growth between two readings. `None` unless the waits of all threads are known, because the sum of some would be too low.
fn run_queue(before: &Reported, now: &Reported) -> Option<RunQueue> {
    let mut growth = RunQueue { in_flight_ns: now.in_flight_ns - before.in_flight_ns, ..RunQueue::default() };
    if now.scheduled.is_empty() {
        return None;
    }
    let known_before = before.scheduled.iter().chain(std::iter::repeat(&None));
    for (now, before) in now.scheduled.iter().zip(known_before) {
        let (now, before) = ((*now)?, (*before)?);
        growth.waited_ns += now.waited_ns.saturating_sub(before.waited_ns);
        growth.turns += now.turns.saturating_sub(before.turns);
    }
    Some(growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(gauges: &Gauges) -> HealthSample {
        let mut sample = HealthSample::default();
        gauges.fill(&mut sample);
        sample
    }

    #[test]
    fn a_wait_is_counted_when_a_row_ends_it() {
        let gauges = Gauges::new(2);
        gauges.record_wait(0, gauges.starts_waiting(false));
        let never_ended = gauges.starts_waiting(true);
        assert!(never_ended.is_some());
        assert_eq!(sample(&gauges).starved, Starved::default());

        gauges.record_wait(1, Instant::now().checked_sub(Duration::from_secs(2)));
        let Starved { times, time_ns, worst } = sample(&gauges).starved;
        assert!(times == 1 && time_ns >= 2_000_000_000, "{time_ns}");
        assert_eq!(worst, Some(StarvedWorker { index: 1, time_ns }));
        let Starved { times, time_ns, worst } = sample(&gauges).starved;
        assert_eq!((times, time_ns), (0, 0), "reported once");
        assert!(worst.is_some(), "the worst worker is that of the whole session");
    }

    #[test]
    fn the_wait_time_is_unknown_unless_it_is_known_for_all_threads() {
        let reported = |scheduled: &[Option<(u64, u64)>], in_flight_ns| Reported {
            scheduled: scheduled
                .iter()
                .map(|counted| counted.map(|(waited_ns, turns)| Scheduled { waited_ns, turns }))
                .collect(),
            in_flight_ns,
            ..Reported::default()
        };
        let before = reported(&[Some((100, 10)), Some((7, 1))], 50);
        let now = reported(&[Some((130, 12)), Some((7, 1))], 90);
        let growth = RunQueue { waited_ns: 30, turns: 2, in_flight_ns: 40 };
        assert_eq!(run_queue(&before, &now), Some(growth));
        let partial = reported(&[Some((130, 12)), None], 90);
        assert_eq!(run_queue(&before, &partial), None);
        assert_eq!(run_queue(&partial, &now), None, "the earlier value is unknown");
        assert_eq!(run_queue(&reported(&[], 50), &reported(&[], 90)), None, "no threads");
    }

    #[test]
    fn each_query_since_the_start_is_reported_once() {
        let gauges = Gauges::new(1);
        let _registered = gauges.register_thread();
        let in_flight = || Some(sample(&gauges).run_queue?.in_flight_ns);
        gauges.add_in_flight(10);
        gauges.reset();
        gauges.add_in_flight(30);
        let Some(first) = in_flight() else {
            println!("skipped: this kernel does not count how long threads wait for a processor");
            return;
        };
        assert_eq!(first, 30);
        gauges.add_in_flight(50);
        assert_eq!((in_flight(), in_flight()), (Some(50), Some(0)));
    }

    #[test]
    fn maxima_are_reset_by_each_sample() {
        let gauges = Gauges::new(1);
        for most in [3, 9, 4] {
            gauges.record_unacked(Unacked { most, bound: 16 });
            gauges.record_round_trip(Duration::from_nanos(most));
        }
        let first = sample(&gauges);
        assert_eq!((first.kept, first.round_trip_ns), (Unacked { most: 9, bound: 16 }, 9));
        let second = sample(&gauges);
        assert_eq!((second.kept, second.round_trip_ns), (Unacked::default(), 0));
    }
}
