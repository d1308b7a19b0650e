//! System counters of this process and its machine. On Linux, they come from /proc and the files of control groups. On other systems, only
//! the CPU time of the process is known.

use std::fs::read_to_string;
use std::path::Path;
use std::thread;
use std::time::Instant;

use muster_core::health::{HealthSample, MachineTime};
use rustix::time::{ClockId, clock_gettime};

use super::cgroup::{self, Groups, Version};
use super::procfs;

/// The sources of the counters.
pub(super) struct System {
    groups: Option<Groups>,
    /// Without control groups, the process is not throttled. Without /proc, that is unknown.
    has_procfs: bool,
}

/// Counters at one point in time.
pub(super) struct Reading {
    at: Instant,
    cores_milli: u32,
    cpu_ns: Option<u64>,
    machine: Option<MachineTime>,
    throttled_ns: Option<u64>,
}

impl System {
    pub(super) fn discover() -> Self {
        let cgroup = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mountinfo = read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let has_procfs = Path::new("/proc/self/status").exists();
        Self { groups: cgroup::groups(&cgroup, &mountinfo), has_procfs }
    }

    pub(super) fn read(&self) -> Reading {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let processors = procfs::allowed_processors(&status).unwrap_or_else(|| {
            let known = thread::available_parallelism().map_or(1, usize::from);
            u32::try_from(known).unwrap_or(u32::MAX)
        });
        let (quota_milli, throttled_ns) = self.quota();
        let allowed_milli = u64::from(processors).saturating_mul(1_000);
        let cores_milli = allowed_milli.min(quota_milli.unwrap_or(u64::MAX)).max(1);
        Reading {
            at: Instant::now(),
            cores_milli: u32::try_from(cores_milli).unwrap_or(u32::MAX),
            cpu_ns: cpu_ns(),
            machine: read_to_string("/proc/stat").ok().and_then(|stat| procfs::machine_time(&stat)),
            throttled_ns,
        }
    }

    /// Returns the lowest quota in thousandths of a core, and the total time for which quotas have throttled this process.
    fn quota(&self) -> (Option<u64>, Option<u64>) {
        let Some(Groups { version, directories }) = &self.groups else {
            return (None, self.has_procfs.then_some(0));
        };
        let quotas = directories.iter().filter_map(|directory| {
            let read = |name| read_to_string(directory.join(name)).ok();
            match version {
                Version::V1 => cgroup::quota_v1(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?),
                Version::V2 => cgroup::quota_v2(&read("cpu.max")?),
            }
        });
        let throttled = directories.iter().filter_map(|directory| {
            cgroup::throttled_ns(*version, &read_to_string(directory.join("cpu.stat")).ok()?)
        });
        (quotas.min(), Some(throttled.fold(0, u64::saturating_add)))
    }
}

impl Reading {
    pub(super) fn since(&self, earlier: &Self) -> HealthSample {
        let growth = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        let machine = self.machine.zip(earlier.machine).map(|(now, before)| MachineTime {
            total_ns: now.total_ns.saturating_sub(before.total_ns),
            busy_ns: now.busy_ns.saturating_sub(before.busy_ns),
            stolen_ns: now.stolen_ns.saturating_sub(before.stolen_ns),
        });
        let time = self.at.duration_since(earlier.at);
        HealthSample {
            time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            cores_milli: self.cores_milli,
            cpu_ns: growth(self.cpu_ns, earlier.cpu_ns),
            machine,
            throttled_ns: growth(self.throttled_ns, earlier.throttled_ns),
            ..HealthSample::default()
        }
    }
}

/// Returns the CPU time of all threads of this process, including those that have ended.
pub fn cpu_ns() -> Option<u64> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// Returns the resident memory of this process. Known on Linux only.
pub fn resident_bytes() -> Option<u64> {
    procfs::resident_bytes(&read_to_string("/proc/self/status").ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Must pass on any machine.
    #[test]
    fn a_busy_thread_uses_cpu_time() {
        let system = System::discover();
        let before = system.read();
        let end = Instant::now() + Duration::from_millis(100);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let sample = system.read().since(&before);
        assert!(sample.time_ns >= 100_000_000 && sample.cores_milli > 0, "{sample:?}");
        assert!(sample.cpu_ns.is_some_and(|used| used > 1_000_000), "{sample:?}");
        if cfg!(target_os = "linux") {
            assert!(sample.machine.is_some_and(|machine| machine.total_ns > 0), "{sample:?}");
            assert!(sample.throttled_ns.is_some());
            assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
