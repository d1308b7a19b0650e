//! Turns for tests that would disturb each other. Tests of one program run at the same time, more of them than the machine has
//! processors (`.cargo/config.toml`), because most tests wait.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit};

/// A test that measures time runs alone or beside one other.
static MEASURED: RwLock<()> = RwLock::const_with_max_readers((), 2);
/// Two, so that one flood's pauses are used by another one, and an honest client is still served in time.
static FLOODS: Semaphore = Semaphore::const_new(2);

/// Waits for the turn of a test whose result any other test would change, such as one of the verdict. It lasts as long as the guard.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MEASURED.write().await
}

/// Waits for the turn of a test that measures time with a margin.
pub async fn beside_one() -> RwLockReadGuard<'static, ()> {
    MEASURED.read().await
}

/// Like [`beside_one`], for tests without a runtime.
pub fn beside_one_blocking() -> RwLockReadGuard<'static, ()> {
    MEASURED.blocking_read()
}

/// Waits for the turn of a test that keeps every processor busy.
pub async fn flood() -> SemaphorePermit<'static> {
    FLOODS.acquire().await.expect("it is never closed")
}
