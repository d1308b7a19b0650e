//! How this process fares while it runs queries: an interval of figures each second, told to the coordinator, which judges them.
//! Tasks and a thread of its own; of the workers it knows counters alone.

mod cgroup;
mod gauges;
mod probe;
mod procfs;
mod reporter;
mod run_queue;
mod system;

use std::sync::{Arc, Mutex, PoisonError};

use muster_common::health::Interval;
use muster_common::lateness::Lateness;

pub(crate) use gauges::Gauges;
pub(crate) use reporter::Reporter;
pub(crate) use run_queue::Registered;
use system::{Reading, System};
pub(crate) use system::{cpu_ns, resident_bytes};

/// Delays that somebody records and a [`Watch`] takes.
pub type Delays = Arc<Mutex<Lateness>>;

/// Looks at this process, and tells what changed since the last time. What workers and streams know is not in it.
pub struct Watch {
    system: System,
    earlier: Reading,
    delays: Delays,
}

impl Watch {
    /// From now on; `delays` are those of whatever is to be on time.
    pub fn start(delays: Delays) -> Self {
        let system = System::discover();
        let earlier = system.read();
        take(&delays);
        Self { system, earlier, delays }
    }

    /// Reads a few small files of the kernel, which takes a tenth of a millisecond.
    pub fn take(&mut self) -> Interval {
        let now = self.system.read();
        let interval = now.since(&self.earlier);
        self.earlier = now;
        Interval { late: take(&self.delays), ..interval }
    }
}

fn take(delays: &Delays) -> Lateness {
    std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner))
}
