//! How long the workers' threads were ready to run and had no processor, which the kernel counts for each thread. The probe cannot see
//! it: a thread that has slept is woken before one that has just run, and where every processor is busy it is the workers that wait.
//!
//! A thread says once where its counters are; they are read elsewhere, and by itself only when it has run its last query.

use std::fs::{read_link, read_to_string};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::procfs::{self, Scheduled};

/// The worker threads of one session.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Vec<Thread>>);

#[derive(Debug)]
enum Thread {
    /// Where its counters are; `None` where no system tells.
    Runs(Option<PathBuf>),
    /// What it left: its file is gone, and its number may be another thread's.
    Ended(Option<Scheduled>),
}

/// Held by a thread while it runs.
#[derive(Debug)]
pub(crate) struct Registered {
    threads: Arc<Threads>,
    position: usize,
}

impl Threads {
    /// The thread that calls this.
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let mut threads = self.locked();
        threads.push(Thread::Runs(own_counters()));
        Registered { threads: Arc::clone(self), position: threads.len() - 1 }
    }

    /// By thread, since each began; `None` for one that nothing is known of.
    pub(super) fn read(&self) -> Vec<Option<Scheduled>> {
        // A thread that ends meanwhile waits for this: its file is there until it has left what it counted.
        let threads = self.locked();
        let read = |thread: &Thread| match thread {
            Thread::Runs(counters) => procfs::scheduled(&read_to_string(counters.as_ref()?).ok()?),
            Thread::Ended(left) => *left,
        };
        threads.iter().map(read).collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut threads = self.threads.locked();
        let Some(thread) = threads.get_mut(self.position) else { return };
        if let Thread::Runs(counters) = thread {
            let text = counters.as_ref().and_then(|counters| read_to_string(counters).ok());
            *thread = Thread::Ended(text.and_then(|text| procfs::scheduled(&text)));
        }
    }
}

/// The link is `4711/task/4712`.
fn own_counters() -> Option<PathBuf> {
    let own = read_link("/proc/thread-self").ok()?;
    Some(PathBuf::from("/proc").join(own).join("schedstat"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_a_thread_waited_stays_known_when_it_has_ended() {
        let threads = Arc::new(Threads::default());
        let registered = threads.register();
        let of_other = thread::spawn({
            let threads = Arc::clone(&threads);
            move || {
                let _registered = threads.register();
                thread::yield_now();
            }
        });
        of_other.join().unwrap();
        let read = threads.read();
        assert_eq!(read.len(), 2);
        if read[0].is_none() {
            println!("skipped: this system does not count the waits of threads");
            return;
        }
        assert!(read[1].is_some_and(|other| other.turns > 0), "{read:?}");
        drop(registered);
        let (before, after) = (read[0].unwrap(), threads.read()[0].unwrap());
        assert!(after.waited_ns >= before.waited_ns && after.turns >= before.turns, "{before:?} {after:?}");
        assert_eq!(threads.read()[0], Some(after), "it has ended");
    }
}
