//! The memory and CPU that a process uses, according to the kernel.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use muster_testing::processes::Process;

/// The most memory that a flood may add, in bytes.
pub(crate) const MEMORY_MAX: u64 = 64 << 20;
/// The most CPU that a process may use after a flood, in percent of one processor.
pub(crate) const CPU_MAX: u64 = 50;
/// The kernel counts CPU time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// A process under attack.
pub(crate) struct Victim {
    id: u32,
    idle: u64,
}

impl Victim {
    /// To be called while the process is idle.
    pub(crate) fn of(process: &Process) -> Self {
        let id = process.id();
        Self { id, idle: status(id, "VmRSS:") }
    }

    /// Expects that the peak memory is not much above that of the idle process.
    #[track_caller]
    pub(crate) fn expect_bounded_memory(&self, during: &str) {
        let grown = status(self.id, "VmHWM:").saturating_sub(self.idle);
        println!("{during}: {} KiB more than idle", grown >> 10);
        assert!(grown < MEMORY_MAX, "{during}: {} MiB more than idle", grown >> 20);
    }

    /// Measures CPU in percent of one processor over this time.
    pub(crate) async fn cpu(&self, over: Duration) -> u64 {
        let (before, began) = (ticks(self.id), Instant::now());
        sleep(over).await;
        let seconds = began.elapsed().as_secs_f64();
        ((ticks(self.id) - before) as f64 * 100.0 / TICKS_PER_SECOND as f64 / seconds) as u64
    }

    pub(crate) async fn expect_idle(&self, after: &str) {
        // Gives the process time to handle what was already sent.
        sleep(Duration::from_millis(500)).await;
        let cpu = self.cpu(Duration::from_secs(1)).await;
        println!("{after}: {cpu} % of a processor afterwards");
        assert!(cpu < CPU_MAX, "{after}: {cpu} % of a processor");
    }
}

/// A field of /proc/PID/status, in bytes.
#[track_caller]
fn status(id: u32, line: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let value =
        text.lines().find_map(|found| found.strip_prefix(line)).expect("the kernel reports the field");
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// User and system time in ticks.
fn ticks(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    // The program's name may contain blanks.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
