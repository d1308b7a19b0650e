//! Waiting for a moment to the microsecond. tokio's timers have a granularity of a millisecond, which would be seen as lag in every
//! figure of an open loop; so the kernel's own timer wakes a little early, and the clock is looked at for the rest, while other workers
//! of the thread may go on.

use std::time::{Duration, Instant};

/// How much earlier the timer wakes: what a kernel takes to wake a thread, and a virtual one a little longer.
#[cfg(target_os = "linux")]
const EARLY: Duration = Duration::from_micros(120);
/// Without the kernel's timer: its granularity, and as much again.
#[cfg(not(target_os = "linux"))]
const EARLY: Duration = Duration::from_micros(2_000);

/// One worker's timer.
#[derive(Debug)]
pub(crate) struct Pace {
    is_by_the_clock: bool,
    #[cfg(target_os = "linux")]
    timer: Option<kernel::Timer>,
}

impl Pace {
    pub(crate) fn by_the_clock() -> Self {
        Self {
            is_by_the_clock: true,
            #[cfg(target_os = "linux")]
            timer: None,
        }
    }

    /// tokio's timers alone: where a test runs the time, looking at the machine's clock would never end.
    pub(crate) fn by_timers() -> Self {
        Self { is_by_the_clock: false, ..Self::by_the_clock() }
    }

    /// Returns at `at`, or at once when that has passed. May be dropped at any time.
    pub(crate) async fn wait_until(&mut self, at: Instant) {
        if !self.is_by_the_clock {
            tokio::time::sleep_until(at.into()).await;
            return;
        }
        let left = at.saturating_duration_since(Instant::now());
        if let Some(sleep) = left.checked_sub(EARLY).filter(|sleep| !sleep.is_zero()) {
            self.sleep(sleep).await;
        }
        while Instant::now() < at {
            tokio::task::yield_now().await;
        }
    }

    #[cfg(target_os = "linux")]
    async fn sleep(&mut self, time: Duration) {
        if self.timer.is_none() {
            self.timer = kernel::Timer::new().ok();
        }
        let slept = match &mut self.timer {
            Some(timer) => timer.sleep(time).await.is_ok(),
            None => false,
        };
        if !slept {
            // No more descriptors, say: later, but it waits.
            tokio::time::sleep(time).await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn sleep(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    /// A timer of the kernel, with nanoseconds and without the slack that sleeping threads get (timerfd_create(2)).
    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[expect(
            deprecated,
            reason = "its successor is unsafe to call; an OwnedFd upholds what that asks for"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(AsyncFd::new(timer)?))
        }

        pub(super) async fn sleep(&mut self, time: Duration) -> io::Result<()> {
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec::try_from(time).map_err(|_| io::ErrorKind::InvalidInput)?;
            let setting = Itimerspec { it_interval: never, it_value: value };
            // Setting it anew takes back what an earlier sleep left unread.
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut expirations = [0; 8];
                match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
                    Ok(read) => return read.map(drop),
                    // What made it readable was an earlier sleep.
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_returns_early_and_a_dropped_wait_leaves_nothing_behind() {
        let mut pace = Pace::by_the_clock();
        for micros in [0, 50, 300, 2_000, 7_500] {
            let at = Instant::now() + Duration::from_micros(micros);
            pace.wait_until(at).await;
            assert!(Instant::now() >= at, "{micros}");
            let dropped = Instant::now() + Duration::from_secs(60);
            let waited = tokio::time::timeout(Duration::ZERO, pace.wait_until(dropped)).await;
            assert!(waited.is_err());
        }
        pace.wait_until(Instant::now() - Duration::from_secs(1)).await;
    }
}
