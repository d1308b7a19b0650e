//! How a worker's thread waits: until a moment, to the microsecond, or until it is woken. A simulation waits in its own time.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use crate::health::Registered;

/// How much earlier the kernel's timer wakes a thread that waits for a moment. The clock is read for the rest: a thread that the kernel
/// wakes is late by some tens of microseconds.
#[cfg(target_os = "linux")]
const EARLY: Duration = Duration::from_micros(120);
/// Without control over the timer's slack.
#[cfg(not(target_os = "linux"))]
const EARLY: Duration = Duration::from_millis(2);

/// Of a wait, at most one part in so many is spent reading the clock, so that workers with short waits leave the processors to others.
const SPIN_SHARE: u32 = 8;

/// Belongs to one thread.
pub trait Waiter {
    fn now(&self) -> Instant;

    /// Returns at `until`, or earlier: when woken, or for no reason. `None` is never.
    fn wait(&mut self, until: Option<Instant>);

    /// Wakes this thread. A wake that comes before the wait ends it at once.
    fn waker(&self) -> Waker;
}

pub struct Waker(Box<dyn Fn() + Send + Sync>);

impl Waker {
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(wake))
    }

    pub(crate) fn wake(&self) {
        (self.0)();
    }
}

/// An operating-system thread and the machine's clock.
#[derive(Debug)]
pub struct ThreadWaiter {
    /// Waits are between queries.
    registered: Option<Registered>,
}

impl ThreadWaiter {
    /// For the calling thread. Its timers get as little slack as the kernel allows (prctl(2), PR_SET_TIMERSLACK).
    pub fn new() -> Self {
        // Without it a thread wakes 50 µs later, which `wait` mostly makes up for.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        Self { registered: None }
    }

    pub(crate) fn registered(registered: Registered) -> Self {
        let mut waiter = Self::new();
        waiter.registered = Some(registered);
        waiter
    }

    fn sleep(&self, sleep: impl FnOnce()) {
        match &self.registered {
            Some(registered) => registered.between_queries(sleep),
            None => sleep(),
        }
    }
}

impl Default for ThreadWaiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiter for ThreadWaiter {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let Some(until) = until else { return self.sleep(thread::park) };
        let left = until.saturating_duration_since(Instant::now());
        let early = EARLY.min(left / SPIN_SHARE);
        // The kernel sleeps until a moment of its monotonic clock (futex(2), FUTEX_WAIT_BITSET).
        self.sleep(|| thread::park_timeout(left - early));
        if until.saturating_duration_since(Instant::now()) > early {
            // Woken.
            return;
        }
        while Instant::now() < until {
            // Not `yield_now`: the wait in the run queue would look like one for a processor.
            hint::spin_loop();
        }
    }

    fn waker(&self) -> Waker {
        let thread = thread::current();
        Waker::new(move || thread.unpark())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_waited_for_and_never_missed_by_returning_early_for_good() {
        let mut waiter = ThreadWaiter::new();
        for micros in [0, 50, 300, 2_000, 7_500] {
            let at = Instant::now() + Duration::from_micros(micros);
            while Instant::now() < at {
                waiter.wait(Some(at));
            }
        }
        waiter.wait(Instant::now().checked_sub(Duration::from_secs(1)));
    }

    #[test]
    fn a_wake_ends_the_wait_even_if_it_comes_first() {
        let mut waiter = ThreadWaiter::new();
        let waker = waiter.waker();
        waker.wake();
        waiter.wait(None);
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            waker.wake();
        });
        waiter.wait(Some(Instant::now() + Duration::from_secs(3_600)));
        other.join().unwrap();
    }
}
