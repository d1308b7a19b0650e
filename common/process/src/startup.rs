//! Checks at startup whether the machine provides what the process needs, so that a missing resource is a clear error message and not a
//! panic in a library later.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use crate::blocking::cannot_start;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Threads(io::Error),
    #[error(
        "this machine's clock is {before} s before 1970; run names, HTTP and certificate validity require an approximately correct clock: \
         set it (`date`, NTP)"
    )]
    Clock { before: u64 },
}

/// Checks the clock, and that the process can run `threads` more threads at the same time.
///
/// # Errors
/// When it cannot run these threads, or the clock is before 1970.
pub fn check(threads: usize) -> Result<(), StartError> {
    check_clock(SystemTime::now())?;
    check_threads(threads).map_err(StartError::Threads)
}

fn check_clock(now: SystemTime) -> Result<(), StartError> {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Clock { before: error.duration().as_secs() }),
    }
}

/// Starts `count` threads at the same time, and then ends them.
fn check_threads(count: usize) -> io::Result<()> {
    let mut started = Vec::with_capacity(count);
    let mut check = || {
        for _ in 0..count {
            let (hold, held) = mpsc::channel::<()>();
            let thread = thread::Builder::new().spawn(move || held.recv().is_ok());
            started.push((hold, thread.map_err(cannot_start)?));
        }
        Ok(())
    };
    let checked = check();
    for (hold, thread) in started {
        drop(hold);
        // The thread cannot panic.
        let _ = thread.join();
    }
    checked
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_is_refused_with_a_hint() {
        check_clock(SystemTime::UNIX_EPOCH).unwrap();
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        let error = check_clock(early).unwrap_err().to_string();
        assert!(error.contains("5 s before 1970") && error.contains("NTP"), "{error}");
    }

    #[test]
    fn a_few_threads_can_be_started() {
        check_threads(3).unwrap();
    }
}
