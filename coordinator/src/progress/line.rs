//! Formats the progress of a run as one line. No I/O.

use std::time::Duration;

use muster_report::units::{count, counted, duration};

use super::Progress;
use crate::workload;

pub(super) fn joining_line(joined: u64, wanted: u64) -> String {
    format!("agents: {} of {} joined", count(joined), count(wanted))
}

/// `reading the workload: 1,234,567 rows, 45 %`
pub(super) fn reading_line(progress: &workload::Progress) -> String {
    let rows = format!("reading the workload: {}", counted(progress.rows.into(), "row"));
    match progress.bytes_total.filter(|total| *total > 0) {
        Some(total) => format!("{rows}, {} %", u128::from(progress.bytes) * 100 / u128::from(total)),
        None => rows,
    }
}

/// `1,234 of 20,000 rows (6 %), 2 failed, p50 3.21 ms, p95 8.20 ms, after 12 s, about 3 min 02 s left`
pub(super) fn plain_line(progress: &Progress) -> String {
    let mut parts: Vec<String> = progress.step.iter().cloned().collect();
    parts.push(match progress.rows_total {
        // The run ends after a duration, so the total is unknown.
        0 => counted(progress.rows_done, "row"),
        total => {
            format!("{} of {} ({} %)", count(progress.rows_done), counted(total, "row"), percent(progress))
        }
    });
    parts.extend(agents(progress));
    parts.push(format!("{} failed", count(progress.failed)));
    parts.extend(percentiles(progress));
    parts.push(format!("after {}", clock_text(progress.elapsed)));
    parts.extend(remaining(progress).map(|time| format!("about {} left", clock_text(time))));
    parts.join(", ")
}

/// `6 % · 1,234/20,000 · 2 failed · 3 min 02 s left · p50 3.21 ms · p95 8.20 ms`. The most important parts come first, because a
/// narrow terminal truncates the end.
pub(super) fn bar_line(progress: &Progress) -> String {
    let mut parts: Vec<String> = progress.step.iter().cloned().collect();
    match progress.rows_total {
        0 => parts.push(counted(progress.rows_done, "row")),
        total => {
            parts.push(format!("{} %", percent(progress)));
            parts.push(format!("{}/{}", count(progress.rows_done), count(total)));
        }
    }
    parts.extend(agents(progress));
    if progress.failed > 0 {
        parts.push(format!("{} failed", count(progress.failed)));
    }
    parts.extend(remaining(progress).map(|time| format!("{} left", clock_text(time))));
    parts.extend(percentiles(progress));
    parts.join(" · ")
}

/// Rounded down, so that 100 % is shown only when every row is settled.
fn percent(progress: &Progress) -> u128 {
    u128::from(progress.rows_done) * 100 / u128::from(progress.rows_total.max(1))
}

/// `None` if all agents are connected.
fn agents(progress: &Progress) -> Option<String> {
    let Progress { joined, agents_wanted, .. } = progress;
    (joined < agents_wanted).then(|| format!("{} of {}", count(*joined), counted(*agents_wanted, "agent")))
}

fn percentiles(progress: &Progress) -> impl Iterator<Item = String> {
    let named = [("p50", progress.p50_ms), ("p95", progress.p95_ms)];
    named.into_iter().filter_map(|(name, ms)| Some(format!("{name} {}", duration(ms?))))
}

/// The estimated remaining time at the average speed so far. `None` if no rows or all rows are done.
fn remaining(progress: &Progress) -> Option<Duration> {
    let left = progress.rows_total.checked_sub(progress.rows_done)?;
    if left == 0 || progress.rows_done == 0 {
        return None;
    }
    let seconds = progress.elapsed.as_secs_f64() * left as f64 / progress.rows_done as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `12 s`, `3 min 02 s`, `1 h 05 min`.
pub(crate) fn clock_text(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", count(seconds / 3_600), seconds / 60 % 60),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::progress) fn progress(rows_done: u64, seconds: u64) -> Progress {
        Progress {
            step: None,
            joined: 4,
            agents_wanted: 4,
            rows_total: 20_000,
            rows_done,
            failed: 2,
            p50_ms: Some(3.21),
            p95_ms: Some(8.2),
            elapsed: Duration::from_secs(seconds),
        }
    }

    #[track_caller]
    fn check(progress: &Progress, expected: &str) {
        assert_eq!(plain_line(progress), expected);
    }

    #[test]
    fn a_plain_line_shows_progress_latency_and_time() {
        check(
            &progress(1_234, 12),
            "1,234 of 20,000 rows (6 %), 2 failed, p50 3.21 ms, p95 8.20 ms, after 12 s, about 3 min 02 s left",
        );
        let before = Progress { p50_ms: None, p95_ms: None, failed: 0, ..progress(0, 0) };
        check(&before, "0 of 20,000 rows (0 %), 0 failed, after 0 s");
        check(
            &progress(20_000, 3_900),
            "20,000 of 20,000 rows (100 %), 2 failed, p50 3.21 ms, p95 8.20 ms, after 1 h 05 min",
        );
    }

    #[test]
    fn the_line_beside_the_bar_begins_with_the_most_important_parts() {
        assert_eq!(
            bar_line(&progress(1_234, 12)),
            "6 % · 1,234/20,000 · 2 failed · 3 min 02 s left · p50 3.21 ms · p95 8.20 ms"
        );
        let fine = Progress { joined: 3, failed: 0, ..progress(20_000, 12) };
        assert_eq!(bar_line(&fine), "100 % · 20,000/20,000 · 3 of 4 agents · p50 3.21 ms · p95 8.20 ms");
    }

    #[test]
    fn a_hundred_percent_is_shown_only_at_the_end() {
        assert!(plain_line(&progress(19_999, 12)).contains("(99 %)"));
    }

    #[test]
    fn a_lost_agent_is_shown() {
        let lost = Progress { joined: 3, ..progress(1_234, 12) };
        assert!(plain_line(&lost).contains(", 3 of 4 agents, "), "{}", plain_line(&lost));
    }

    #[test]
    fn extreme_figures_do_not_panic() {
        for extreme in [
            Progress::default(),
            Progress { rows_done: 5, ..Progress::default() },
            Progress { rows_total: u64::MAX, rows_done: 1, elapsed: Duration::MAX, ..Progress::default() },
            Progress { p50_ms: Some(f64::NAN), ..progress(1, 1) },
        ] {
            assert!(!plain_line(&extreme).is_empty());
        }
    }
}
