//! How a worker's thread waits: until a point in time, with microsecond precision, or until it is woken. A simulation implements
//! [`Waiter`] with simulated time.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use crate::health::Registered;

/// How long before its deadline a thread is woken by the kernel's timer. It spins for the rest, because the kernel wakes a thread some
/// tens of microseconds after the timer has expired.
#[cfg(target_os = "linux")]
const WAKE_EARLY: Duration = Duration::from_micros(120);
/// Longer, because the timer slack cannot be set on this system.
#[cfg(not(target_os = "linux"))]
const WAKE_EARLY: Duration = Duration::from_millis(2);

/// At most 1/`SPIN_SHARE` of a wait is spent spinning, so that workers with short waits do not occupy the processors.
const SPIN_SHARE: u32 = 8;

/// Lets one thread wait. Used by that thread only.
pub trait Waiter {
    fn now(&self) -> Instant;

    /// Returns at `until`, or earlier when the thread is woken, possibly spuriously. `None` waits without a deadline.
    fn wait(&mut self, until: Option<Instant>);

    /// Returns a handle that wakes this thread. A wake before a wait ends that wait at once.
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

/// Waits on an operating-system thread and reads the machine's monotonic clock.
#[derive(Debug)]
pub struct ThreadWaiter {
    /// Informed of each wait, because a wait for a processor during it is not part of a query.
    registered: Option<Registered>,
}

impl ThreadWaiter {
    /// Creates the waiter of the calling thread, and sets the thread's timer slack to the minimum (prctl(2), PR_SET_TIMERSLACK).
    pub fn new() -> Self {
        // An error is ignored: the thread then wakes 50 µs later, most of which the spin in `wait` compensates.
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
        let early = WAKE_EARLY.min(left / SPIN_SHARE);
        // The kernel sleeps until an absolute time of its monotonic clock (futex(2), FUTEX_WAIT_BITSET).
        self.sleep(|| thread::park_timeout(left - early));
        if until.saturating_duration_since(Instant::now()) > early {
            // The thread was woken before the timer expired.
            return;
        }
        while Instant::now() < until {
            // Not `yield_now`, which would count as time spent waiting for a processor.
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
    fn repeated_waits_reach_the_deadline() {
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
    fn a_wake_ends_the_wait_even_if_it_precedes_it() {
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
