//! A wait that ends exactly in time, or earlier when another connection asks for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The last part of a delay is spun away: a sleeping thread is woken some 60 µs late.
const SPIN: Duration = Duration::from_micros(100);

/// What a CancelRequest, which comes on a connection of its own, reaches.
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

    /// Whether it was set before the time was over.
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
