//! A thread that sleeps until a moment and measures how late it was woken, again and again: what happens to a worker's thread when its
//! answer comes. One for the whole process, however many agents are in it, and only while somebody wants to know.
//!
//! Each wake counts once. A probe that was late by ten of its periods has met one delay, as a worker with one query in flight has:
//! counted ten times it would say how long the process was held up and not how many queries felt it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use muster_common::lateness::Lateness;
use muster_common::limits;

use super::Delays;

/// The process has one scheduler's fate, so this is one for the process and not passed around.
static PROBE: Mutex<Probe> = Mutex::new(Probe { listeners: Vec::new(), is_running: false });

struct Probe {
    listeners: Vec<Weak<Mutex<Lateness>>>,
    is_running: bool,
}

/// Every delay from now on, until it is dropped.
pub(super) fn listen() -> Delays {
    let delays = Delays::default();
    let mut probe = locked();
    probe.listeners.push(Arc::downgrade(&delays));
    if !probe.is_running {
        // Without a thread there are no delays, and nobody judges by them.
        probe.is_running = thread::Builder::new().name("probe".to_owned()).spawn(run).is_ok();
    }
    delays
}

fn run() {
    let mut due = Instant::now() + limits::PROBE_EVERY;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let woken = Instant::now();
        let late = woken.saturating_duration_since(due);
        if !locked().tell(late) {
            return;
        }
        due = next(due, woken);
    }
}

/// What was missed is not made up for: the moments after a delay would be late by what is left of it.
fn next(due: Instant, woken: Instant) -> Instant {
    let next = due + limits::PROBE_EVERY;
    if woken < next { next } else { woken + limits::PROBE_EVERY }
}

impl Probe {
    /// False when nobody listens any more; the thread ends then, and the next listener starts another.
    fn tell(&mut self, late: Duration) -> bool {
        let late_ns = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.listeners.retain(|listener| {
            let delays = listener.upgrade();
            if let Some(delays) = &delays {
                delays.lock().unwrap_or_else(PoisonError::into_inner).record(late_ns);
            }
            delays.is_some()
        });
        self.is_running = !self.listeners.is_empty();
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
    fn a_delay_counts_once_and_the_next_moment_is_a_whole_period_later() {
        let every = limits::PROBE_EVERY;
        let due = Instant::now();
        assert_eq!(next(due, due + every / 10), due + every);
        assert_eq!(next(due, due + every * 10), due + every * 11);
    }

    #[test]
    fn it_runs_while_somebody_listens_and_tells_everybody() {
        let (first, second) = (listen(), listen());
        let count = |delays: &Delays| delays.lock().unwrap().count();
        let deadline = Instant::now() + Duration::from_secs(30);
        while count(&first) < 3 || count(&second) < 3 {
            assert!(Instant::now() < deadline, "the probe sleeps on");
            thread::sleep(limits::PROBE_EVERY);
        }
        drop((first, second));
        while locked().is_running {
            assert!(Instant::now() < deadline, "nobody listens, and it runs");
            thread::sleep(limits::PROBE_EVERY);
        }
        let again = listen();
        while count(&again) == 0 {
            assert!(Instant::now() < deadline, "it does not start again");
            thread::sleep(limits::PROBE_EVERY);
        }
    }
}
