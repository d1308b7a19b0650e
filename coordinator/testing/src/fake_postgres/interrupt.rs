//! A wait that ends on time, or earlier when another connection interrupts it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The last part of a delay is spent spinning, because a sleeping thread wakes about 60 µs late.
const SPIN: Duration = Duration::from_micros(100);

/// Set by a CancelRequest, which arrives on another connection.
#[derive(Default)]
pub(super) struct Interrupt {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    pub(super) fn set(&self) {
        *locked(&self.is_set) = true;
        self.changed.notify_all();
    }

    pub(super) fn clear(&self) {
        *locked(&self.is_set) = false;
    }

    /// Returns true if it was set before the time was over.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let sleep = time.saturating_sub(SPIN);
        let waited = self.changed.wait_timeout_while(locked(&self.is_set), sleep, |is_set| !*is_set);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return true;
        }
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        false
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
