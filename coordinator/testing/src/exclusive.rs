//! Turns for tests that would disturb each other. Tests of one program run at the same time, more of them than the machine has
//! processors (`.cargo/config.toml`), because most tests wait.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

/// Two, so that one flood's pauses are used by another one, and an honest client is still served in time.
static FLOODS: Semaphore = Semaphore::const_new(2);
static MEASURED: Mutex<()> = Mutex::const_new(());

/// Waits for the turn of a test that measures time. It holds the turn until it has ended.
pub async fn measured() -> MutexGuard<'static, ()> {
    MEASURED.lock().await
}

/// Like [`measured`], for tests without a runtime.
pub fn measured_blocking() -> MutexGuard<'static, ()> {
    MEASURED.blocking_lock()
}

/// Waits for the turn of a test that keeps every processor busy.
pub async fn flood() -> SemaphorePermit<'static> {
    FLOODS.acquire().await.expect("it is never closed")
}
