//! Counters that workers and streams leave for the health report: relaxed atomics, a few instructions each, none while a query runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_common::health::{Interval, Kept, RunQueue, Starved, StarvedWorker};

use super::procfs::Scheduled;
use super::run_queue::{Registered, Threads};

#[derive(Debug)]
pub(crate) struct Gauges {
    /// When the first worker began its round.
    first_begin: Mutex<Option<Instant>>,
    /// By worker.
    waits: Box<[Waits]>,
    /// The most since the last report.
    kept: Mutex<Kept>,
    round_trip_ns: AtomicU64,
    /// Those that the workers run on.
    threads: Arc<Threads>,
    /// Of queries since the session began.
    in_flight_ns: AtomicU64,
    told: Mutex<Told>,
}

/// Waits for rows since the session began.
#[derive(Debug, Default)]
struct Waits {
    times: AtomicU64,
    time_ns: AtomicU64,
}

/// What was told last, for what is counted since the session began.
#[derive(Debug, Default)]
struct Told {
    times: u64,
    time_ns: u64,
    /// By thread.
    scheduled: Vec<Option<Scheduled>>,
    in_flight_ns: u64,
}

impl Gauges {
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            first_begin: Mutex::default(),
            waits: (0..workers).map(|_| Waits::default()).collect(),
            kept: Mutex::default(),
            round_trip_ns: AtomicU64::new(0),
            threads: Arc::default(),
            in_flight_ns: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// A worker begins its round.
    pub(crate) fn begins(&self, now: Instant) {
        let mut first = lock(&self.first_begin);
        *first = Some(first.map_or(now, |first| first.min(now)));
    }

    pub(crate) fn first_begin(&self) -> Option<Instant> {
        *lock(&self.first_begin)
    }

    /// Another round is to come.
    pub(crate) fn forget_begin(&self) {
        *lock(&self.first_begin) = None;
    }

    /// A worker wants a row; it waits from now on when its queue `is_empty`. The answer goes to [`got_row`](Self::got_row), and is
    /// dropped when no row came: whoever has run all of its rows waits for nothing.
    pub(crate) fn wants_row(&self, is_empty: bool) -> Option<Instant> {
        is_empty.then(Instant::now)
    }

    pub(crate) fn got_row(&self, worker: u16, waited_since: Option<Instant>) {
        let (Some(since), Some(waits)) = (waited_since, self.waits.get(usize::from(worker))) else { return };
        waits.times.fetch_add(1, Ordering::Relaxed);
        waits.time_ns.fetch_add(nanoseconds(since.elapsed()), Ordering::Relaxed);
    }

    /// So many results are not acknowledged yet.
    pub(crate) fn holds(&self, kept: Kept) {
        lock(&self.kept).merge(&kept);
    }

    pub(crate) fn beat_returned(&self, round_trip: Duration) {
        self.round_trip_ns.fetch_max(nanoseconds(round_trip), Ordering::Relaxed);
    }

    /// The calling thread is a worker's, until what it gets is dropped.
    pub(crate) fn register_thread(&self) -> Registered {
        self.threads.register()
    }

    /// Queries have ended, in flight for so long together. Not told by workers, but by who hears of their results.
    pub(crate) fn ended(&self, in_flight_ns: u64) {
        self.in_flight_ns.fetch_add(in_flight_ns, Ordering::Relaxed);
    }

    /// What was counted until now is not a part of the run.
    pub(crate) fn forget(&self) {
        self.fill(&mut Interval::default());
    }

    /// Adds what was counted since the last time.
    pub(super) fn fill(&self, interval: &mut Interval) {
        let mut told = lock(&self.told);
        let mut now = Told {
            scheduled: self.threads.read(),
            in_flight_ns: self.in_flight_ns.load(Ordering::Relaxed),
            ..Told::default()
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
        interval.starved =
            Starved { times: now.times - told.times, time_ns: now.time_ns - told.time_ns, worst };
        interval.run_queue = run_queue(&told, &now);
        *told = now;
        interval.kept = std::mem::take(&mut *lock(&self.kept));
        interval.round_trip_ns = self.round_trip_ns.swap(0, Ordering::Relaxed);
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` unless the waits of all threads are known: of some of them they would be too short.
fn run_queue(before: &Told, now: &Told) -> Option<RunQueue> {
    let mut grown = RunQueue { in_flight_ns: now.in_flight_ns - before.in_flight_ns, ..RunQueue::default() };
    if now.scheduled.is_empty() {
        return None;
    }
    let known_before = before.scheduled.iter().chain(std::iter::repeat(&None));
    for (now, before) in now.scheduled.iter().zip(known_before) {
        let (now, before) = ((*now)?, (*before)?);
        grown.waited_ns += now.waited_ns.saturating_sub(before.waited_ns);
        grown.turns += now.turns.saturating_sub(before.turns);
    }
    Some(grown)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gauges: &Gauges) -> Interval {
        let mut interval = Interval::default();
        gauges.fill(&mut interval);
        interval
    }

    #[test]
    fn a_wait_counts_when_a_row_ended_it() {
        let gauges = Gauges::new(2);
        gauges.got_row(0, gauges.wants_row(false));
        let never_ended = gauges.wants_row(true);
        assert!(never_ended.is_some());
        assert_eq!(report(&gauges).starved, Starved::default());

        gauges.got_row(1, Instant::now().checked_sub(Duration::from_secs(2)));
        let Starved { times, time_ns, worst } = report(&gauges).starved;
        assert!(times == 1 && time_ns >= 2_000_000_000, "{time_ns}");
        assert_eq!(worst, Some(StarvedWorker { index: 1, time_ns }));
        let Starved { times, time_ns, worst } = report(&gauges).starved;
        assert_eq!((times, time_ns), (0, 0), "told once");
        assert!(worst.is_some(), "the worst is the worst of all the time");
    }

    #[test]
    fn waits_are_those_of_all_threads_or_unknown() {
        let told = |scheduled: &[Option<(u64, u64)>], in_flight_ns| Told {
            scheduled: scheduled
                .iter()
                .map(|counted| counted.map(|(waited_ns, turns)| Scheduled { waited_ns, turns }))
                .collect(),
            in_flight_ns,
            ..Told::default()
        };
        let before = told(&[Some((100, 10)), Some((7, 1))], 50);
        let now = told(&[Some((130, 12)), Some((7, 1))], 90);
        let grown = RunQueue { waited_ns: 30, turns: 2, in_flight_ns: 40 };
        assert_eq!(run_queue(&before, &now), Some(grown));
        let of_one = told(&[Some((130, 12)), None], 90);
        assert_eq!(run_queue(&before, &of_one), None);
        assert_eq!(run_queue(&of_one, &now), None, "since when is not known");
        assert_eq!(run_queue(&told(&[], 50), &told(&[], 90)), None, "no threads, no waits");
    }

    #[test]
    fn queries_are_told_once_and_all_of_those_since_the_start() {
        let gauges = Gauges::new(1);
        let _registered = gauges.register_thread();
        let in_flight = || Some(report(&gauges).run_queue?.in_flight_ns);
        gauges.ended(10);
        gauges.forget();
        gauges.ended(30);
        let Some(first) = in_flight() else {
            println!("skipped: this kernel does not count how long threads wait for a processor");
            return;
        };
        assert_eq!(first, 30);
        gauges.ended(50);
        assert_eq!((in_flight(), in_flight()), (Some(50), Some(0)));
    }

    #[test]
    fn high_waters_are_those_since_the_last_report() {
        let gauges = Gauges::new(1);
        for most in [3, 9, 4] {
            gauges.holds(Kept { most, bound: 16 });
            gauges.beat_returned(Duration::from_nanos(most));
        }
        let interval = report(&gauges);
        assert_eq!((interval.kept, interval.round_trip_ns), (Kept { most: 9, bound: 16 }, 9));
        let interval = report(&gauges);
        assert_eq!((interval.kept, interval.round_trip_ns), (Kept::default(), 0));
    }
}
