//! Waits for child processes and measures the CPU time that they used.

use std::io::Read;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use crate::memory::peak_mb_of;

/// A process that exited successfully.
pub(crate) struct Ended {
    pub(crate) stdout: String,
    /// User and system time, in steps of 10 ms, the kernel's unit.
    pub(crate) cpu: Duration,
}

/// Waits for a child. No other child may be waited for at the same time, because the kernel reports the CPU time of all children together.
///
/// # Panics
/// If the process failed.
pub(crate) fn end(mut child: Child) -> Ended {
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout).unwrap();
    }
    let before = cpu_of_children();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {stdout}");
    Ended { stdout, cpu: cpu_of_children() - before }
}

/// CPU time of all children that were waited for: proc(5), fields 16 and 17 of `stat`.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses before these fields may contain any character.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// A process that exited successfully, and whose memory was sampled while it ran.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) stdout: String,
    pub(crate) cpu: Duration,
    /// Peak resident memory; growth in the last 20 ms may be missed.
    pub(crate) peak_mb: f64,
}

impl Watched {
    /// The sums of both.
    pub(crate) fn and(self, other: Self) -> Self {
        let (cpu, peak_mb) = (self.cpu + other.cpu, self.peak_mb + other.peak_mb);
        Self { stdout: self.stdout + &other.stdout, cpu, peak_mb }
    }
}

/// Like [`end`], and samples the memory. The child's output must fit into a pipe.
pub(crate) fn watch(child: Child) -> Watched {
    let process = child.id().to_string();
    let mut peak_mb: f64 = 0.0;
    // Does not wait for the child: `end` would then miss its CPU time.
    while let Some(now_mb) = peak_mb_of(&process) {
        peak_mb = peak_mb.max(now_mb);
        sleep(Duration::from_millis(20));
    }
    let Ended { stdout, cpu } = end(child);
    Watched { stdout, cpu, peak_mb }
}
