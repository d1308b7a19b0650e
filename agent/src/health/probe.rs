//! A thread that measures scheduling delay: it repeatedly sleeps until a point in time and records how much later it was woken. A worker's
//! thread has the same delay when its response arrives. The process has one probe for all of its agents, which runs only while it has a
//! subscriber.
//!
//! Each wake is counted once. A delay of ten periods is one delay, as it is for a worker with one query in flight. Counted ten times, it
//! would measure how long the process was delayed instead of how many queries were affected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use muster_core::limits;
use muster_process::health::Delays;
use muster_stats::scheduling_delay::SchedulingDelay;

use crate::clock::nanoseconds;

/// A global, because all threads of the process are scheduled alike and one probe is enough.
static PROBE: Mutex<Probe> = Mutex::new(Probe { subscribers: Vec::new(), is_running: false });

struct Probe {
    subscribers: Vec<Weak<Mutex<SchedulingDelay>>>,
    is_running: bool,
}

/// Returns a record to which the probe adds every delay from now on, until it is dropped.
pub(super) fn subscribe() -> Delays {
    let delays = Delays::default();
    let mut probe = locked();
    probe.subscribers.push(Arc::downgrade(&delays));
    if !probe.is_running {
        // If the thread cannot be started, no delays are recorded, and the verdict does not use them.
        probe.is_running = thread::Builder::new().name("probe".to_owned()).spawn(run).is_ok();
    }
    delays
}

fn run() {
    let mut due = Instant::now() + limits::PROBE_EVERY;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let woken = Instant::now();
        let delay = woken.saturating_duration_since(due);
        if !locked().record(delay) {
            return;
        }
        due = next(due, woken);
    }
}

/// Returns the next due time. Periods that a delay has covered are skipped: each of them would record the rest of the same delay.
fn next(due: Instant, woken: Instant) -> Instant {
    let next = due + limits::PROBE_EVERY;
    if woken < next { next } else { woken + limits::PROBE_EVERY }
}

impl Probe {
    /// Adds a delay to the record of each subscriber. Returns false if there are no subscribers. The thread then ends, and the next
    /// subscriber starts another one.
    fn record(&mut self, delay: Duration) -> bool {
        let delay_ns = nanoseconds(delay);
        self.subscribers.retain(|subscriber| {
            let delays = subscriber.upgrade();
            if let Some(delays) = &delays {
                delays.lock().unwrap_or_else(PoisonError::into_inner).record(delay_ns);
            }
            delays.is_some()
        });
        self.is_running = !self.subscribers.is_empty();
        self.is_running
    }
}

fn locked() -> MutexGuard<'static, Probe> {
    PROBE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_counted_once_and_the_next_due_time_is_a_whole_period_later() {
        let every = limits::PROBE_EVERY;
        let due = Instant::now();
        assert_eq!(next(due, due + every / 10), due + every);
        assert_eq!(next(due, due + every * 10), due + every * 11);
    }

    #[test]
    fn the_probe_runs_while_it_has_subscribers_and_reports_to_all() {
        let (first, second) = (subscribe(), subscribe());
        let count = |delays: &Delays| delays.lock().unwrap().count();
        let deadline = Instant::now() + Duration::from_secs(30);
        while count(&first) < 3 || count(&second) < 3 {
            assert!(Instant::now() < deadline, "the probe does not record");
            thread::sleep(limits::PROBE_EVERY);
        }
        drop((first, second));
        while locked().is_running {
            assert!(Instant::now() < deadline, "the probe runs without subscribers");
            thread::sleep(limits::PROBE_EVERY);
        }
        let again = subscribe();
        while count(&again) == 0 {
            assert!(Instant::now() < deadline, "the probe does not start again");
            thread::sleep(limits::PROBE_EVERY);
        }
    }
}
