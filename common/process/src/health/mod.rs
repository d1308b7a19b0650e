//! Measures the health of this process and its machine from the counters of the kernel: CPU time, quota, throttling, stolen time.

mod cgroup;
mod procfs;
mod system;

use std::sync::{Arc, Mutex, PoisonError};

use muster_core::health::HealthSample;
use muster_stats::scheduling_delay::SchedulingDelay;

pub use procfs::{Scheduled, scheduled};
use system::{Reading, System};
pub use system::{cpu_ns, resident_bytes};

/// Scheduling delays that have been recorded since a [`Watch`] last took them.
pub type Delays = Arc<Mutex<SchedulingDelay>>;

/// Samples this process. A sample covers the time since the previous one. It does not include the counters of workers and streams.
pub struct Watch {
    system: System,
    earlier: Reading,
    delays: Delays,
}

impl Watch {
    /// Starts the first sample. `delays` is filled by the caller, with the delays of a thread or of an event loop.
    pub fn start(delays: Delays) -> Self {
        let system = System::discover();
        let earlier = system.read();
        take(&delays);
        Self { system, earlier, delays }
    }

    /// Returns the sample since the last call. Reads a few small files of the kernel, which takes a tenth of a millisecond.
    pub fn take(&mut self) -> HealthSample {
        let now = self.system.read();
        let sample = now.since(&self.earlier);
        self.earlier = now;
        HealthSample { late: take(&self.delays), ..sample }
    }
}

fn take(delays: &Delays) -> SchedulingDelay {
    std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner))
}
