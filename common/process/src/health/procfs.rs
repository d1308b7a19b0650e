//! Parsers for files below /proc on Linux. They take the text of a file, and return `None` if it does not have the expected format.

use muster_core::health::MachineTime;

/// The unit of `/proc/stat`: USER_HZ is 100 on every architecture that this program runs on.
const TICK_NS: u64 = 10_000_000;

/// The scheduler's counters of a thread, since the thread began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// Time in which the thread was ready to run but had no processor.
    pub waited_ns: u64,
    /// How often it was given a processor.
    pub turns: u64,
}

/// Parses `/proc/<process>/task/<thread>/schedstat`: time on a processor, time on a run queue, and number of turns. A kernel that does not
/// count them writes zeros. A real thread has had at least one turn when it reads the file.
pub fn scheduled(schedstat: &str) -> Option<Scheduled> {
    let mut fields = schedstat.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let (Some(Some(_)), Some(Some(waited_ns)), Some(Some(turns))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return None;
    };
    (turns > 0).then_some(Scheduled { waited_ns, turns })
}

/// Parses the first line of `/proc/stat`, which counts for all processors since the machine started.
pub(super) fn machine_time(stat: &str) -> Option<MachineTime> {
    let ticks = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = ticks.split_whitespace().map(|field| field.parse().ok()).collect::<Option<_>>()?;
    // Guest time is already included in user and nice.
    let [user, nice, system, idle, waiting, interrupt, soft_interrupt, stolen, ..] = *ticks.as_slice() else {
        return None;
    };
    let busy = [user, nice, system, interrupt, soft_interrupt].into_iter().fold(0, u64::saturating_add);
    let total = [busy, idle, waiting, stolen].into_iter().fold(0, u64::saturating_add);
    let nanoseconds = |ticks: u64| ticks.saturating_mul(TICK_NS);
    Some(MachineTime {
        total_ns: nanoseconds(total),
        busy_ns: nanoseconds(busy),
        stolen_ns: nanoseconds(stolen),
    })
}

/// Parses `/proc/self/status` and returns the number of processors that CPU affinity and cpuset allow for this process.
pub(super) fn allowed_processors(status: &str) -> Option<u32> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(count).try_fold(0u32, |sum, count| sum.checked_add(count?))
}

/// Parses `/proc/self/status` and returns the resident memory. The file has it in units of 1,024 bytes, which it calls kB.
pub(super) fn resident_bytes(status: &str) -> Option<u64> {
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    size.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a virtual machine with two processors, Linux 6.18.
    const STAT: &str = "\
cpu  70407 12 9921 13524 459 7 44 120 5 0
cpu0 34811 0 4688 7588 81 0 3 49 0 0
cpu1 35595 0 5232 5935 378 0 40 70 0 0
intr 1276946 1
";

    #[test]
    fn machine_time_is_split_into_busy_stolen_and_idle() {
        let time = machine_time(STAT).unwrap();
        assert_eq!(time.busy_ns / TICK_NS, 70_407 + 12 + 9_921 + 7 + 44);
        assert_eq!(time.stolen_ns / TICK_NS, 120);
        assert_eq!((time.total_ns - time.busy_ns - time.stolen_ns) / TICK_NS, 13_524 + 459);
    }

    #[test]
    fn a_text_in_another_format_gives_none() {
        for text in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e f g h", "cpu0 1 2 3 4 5 6 7 8"] {
            assert_eq!(machine_time(text), None, "{text}");
        }
        for text in [
            "",
            "Cpus_allowed_list:\t",
            "Cpus_allowed_list:\t3-1",
            "Cpus_allowed_list:\tx",
            "Cpus_allowed:\t3",
        ] {
            assert_eq!(allowed_processors(text), None, "{text}");
        }
    }

    #[test]
    fn a_thread_without_counters_is_unknown_instead_of_never_waiting() {
        let counted = |waited_ns, turns| Some(Scheduled { waited_ns, turns });
        assert_eq!(scheduled("1147844 214521 3\n"), counted(214_521, 3));
        assert_eq!(scheduled("1147844 0 1\n"), counted(0, 1));
        assert_eq!(scheduled("1 2 3 4\n"), counted(2, 3), "a later kernel may add fields");
        for text in ["0 0 0\n", "", "1147844 214521\n", "a b c\n", "1 -2 3\n"] {
            assert_eq!(scheduled(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_converted_to_bytes() {
        assert_eq!(resident_bytes("VmHWM:\t    9000 kB\nVmRSS:\t    6912 kB\n"), Some(6_912 * 1_024));
        for text in ["", "VmRSS:\t", "VmRSS:\t 6912 MB", "VmRSS: x kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(resident_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn processors_are_listed_in_ranges() {
        let of = |list| {
            allowed_processors(&format!("Name:\tagent\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\n"))
        };
        assert_eq!((of("0-1"), of("0"), of("0-3,8,10-11")), (Some(2), Some(1), Some(7)));
        assert_eq!(of("0-4294967295"), None, "more than can be counted");
    }
}
