//! What a process costs its machine, as the kernel counts it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::processes::Process;

/// Whatever strangers do, so many more bytes than before.
pub(crate) const MEMORY_MAX: u64 = 64 << 20;
/// Whatever strangers did, so much of a processor when they are gone, in per cent.
pub(crate) const CPU_MAX: u64 = 50;
/// The kernel counts CPU in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// A process that is attacked.
pub(crate) struct Victim {
    id: u32,
    idle: u64,
}

impl Victim {
    /// At rest by now.
    pub(crate) fn of(process: &Process) -> Self {
        let id = process.id();
        Self { id, idle: status(id, "VmRSS:") }
    }

    /// The most memory that it ever had is not much more than what it had at rest.
    #[track_caller]
    pub(crate) fn has_kept_its_size(&self, during: &str) {
        let grown = status(self.id, "VmHWM:").saturating_sub(self.idle);
        println!("{during}: {} KiB more than at rest", grown >> 10);
        assert!(grown < MEMORY_MAX, "{during}: {} MiB more than at rest", grown >> 20);
    }

    /// CPU in per cent of one processor over a time.
    pub(crate) async fn cpu(&self, over: Duration) -> u64 {
        let (before, began) = (ticks(self.id), Instant::now());
        sleep(over).await;
        let seconds = began.elapsed().as_secs_f64();
        ((ticks(self.id) - before) as f64 * 100.0 / TICKS_PER_SECOND as f64 / seconds) as u64
    }

    pub(crate) async fn is_at_rest(&self, after: &str) {
        // What has been sent by then is still dealt with.
        sleep(Duration::from_millis(500)).await;
        let cpu = self.cpu(Duration::from_secs(1)).await;
        println!("{after}: {cpu} % of a processor afterwards");
        assert!(cpu < CPU_MAX, "{after}: {cpu} % of a processor");
    }
}

/// A line of /proc/PID/status, in bytes.
#[track_caller]
fn status(id: u32, line: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let value = text.lines().find_map(|found| found.strip_prefix(line)).expect("the kernel says it");
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// User and system time.
fn ticks(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    // The name may have blanks in it.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
