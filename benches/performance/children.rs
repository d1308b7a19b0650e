//! Processes that this one started, and the processor time that they took.

use std::io::Read;
use std::process::Child;
use std::time::Duration;

/// A process that ended well.
pub(crate) struct Ended {
    pub(crate) stdout: String,
    /// User and system, in hundredths of a second as the kernel tells it.
    pub(crate) cpu: Duration,
}

/// Waits for it. Nobody else may wait for another one meanwhile.
///
/// # Panics
/// When it failed.
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

/// Of all children that were waited for: proc(5), fields 16 and 17 of `stat`.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name before, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}
