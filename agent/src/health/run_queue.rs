//! Measures how long worker threads were ready to run but had no processor, which the kernel counts for each thread. The probe cannot
//! measure it: the scheduler prefers a thread that has slept to one that has just run, so when all processors are busy, the workers wait
//! and the probe does not.
//!
//! Each thread opens its counter file once. The reporter reads the counters. The thread itself reads them before and after it waits for a
//! due time or for rows, because a wait for a processor during that time is not part of a query.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_process::health::{self, Scheduled};

/// The worker threads of one session.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Vec<Thread>>);

#[derive(Debug)]
enum Thread {
    Runs(Arc<Counters>),
    /// The thread's last values, because its counter file does not outlive it.
    Ended(Option<Scheduled>),
}

#[derive(Debug)]
struct Counters {
    /// `None` if the system does not have the file.
    schedstat: Option<File>,
    /// The part of the wait time that was between queries.
    between_ns: AtomicU64,
    /// The part of the turns that was between queries.
    between_turns: AtomicU64,
}

/// A registered thread holds this while it runs.
#[derive(Debug)]
pub(crate) struct Registered {
    threads: Arc<Threads>,
    position: usize,
    counters: Arc<Counters>,
}

impl Threads {
    /// Registers the calling thread.
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let counters = Arc::new(Counters {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            between_ns: AtomicU64::new(0),
            between_turns: AtomicU64::new(0),
        });
        let mut threads = self.locked();
        threads.push(Thread::Runs(Arc::clone(&counters)));
        Registered { threads: Arc::clone(self), position: threads.len() - 1, counters }
    }

    /// Returns the values of each thread since it began, in the order of registration. `None` if a thread's counters are unknown.
    pub(super) fn read(&self) -> Vec<Option<Scheduled>> {
        // A thread that ends in the meantime waits for this lock, so its counter file is readable until it has stored its last values.
        let threads = self.locked();
        let read = |thread: &Thread| match thread {
            Thread::Runs(counters) => counters.in_queries(),
            Thread::Ended(left) => *left,
        };
        threads.iter().map(read).collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn all(&self) -> Option<Scheduled> {
        // The file contains three numbers.
        let mut text = [0; 96];
        let length = self.schedstat.as_ref()?.read_at(&mut text, 0).ok()?;
        health::scheduled(str::from_utf8(text.get(..length)?).ok()?)
    }

    fn in_queries(&self) -> Option<Scheduled> {
        let Scheduled { waited_ns, turns } = self.all()?;
        Some(Scheduled {
            waited_ns: waited_ns.saturating_sub(self.between_ns.load(Ordering::Relaxed)),
            turns: turns.saturating_sub(self.between_turns.load(Ordering::Relaxed)),
        })
    }
}

impl Registered {
    /// Runs `wait`, which must be between two queries. Must be called by the registered thread.
    pub(crate) fn between_queries(&self, wait: impl FnOnce()) {
        let before = self.counters.all();
        wait();
        if let (Some(before), Some(after)) = (before, self.counters.all()) {
            let Counters { between_ns, between_turns, .. } = &*self.counters;
            between_ns.fetch_add(after.waited_ns.saturating_sub(before.waited_ns), Ordering::Relaxed);
            between_turns.fetch_add(after.turns.saturating_sub(before.turns), Ordering::Relaxed);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let left = self.counters.in_queries();
        if let Some(thread) = self.threads.locked().get_mut(self.position) {
            *thread = Thread::Ended(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn waits_between_queries_are_not_counted() {
        let threads = Arc::new(Threads::default());
        let registered = threads.register();
        let Some(before) = registered.counters.all() else {
            println!("skipped: this system does not count the waits of threads");
            return;
        };
        let in_queries = registered.counters.in_queries();
        for _ in 0..20 {
            registered.between_queries(|| thread::sleep(Duration::from_millis(1)));
        }
        let (after, now) = (registered.counters.all().unwrap(), registered.counters.in_queries());
        assert!(after.turns >= before.turns + 20, "{before:?} {after:?}");
        let turns = |scheduled: Option<Scheduled>| scheduled.unwrap().turns;
        assert!(turns(now) - turns(in_queries) < 20, "{in_queries:?} {now:?}");
    }

    #[test]
    fn the_values_of_an_ended_thread_are_kept() {
        let threads = Arc::new(Threads::default());
        let registered = threads.register();
        let other = thread::spawn({
            let threads = Arc::clone(&threads);
            move || {
                let _registered = threads.register();
                thread::yield_now();
            }
        });
        other.join().unwrap();
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
        assert_eq!(threads.read()[0], Some(after), "the values do not change after the end");
    }
}
