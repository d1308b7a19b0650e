//! The progress display on stderr during a run: a bar in a terminal, otherwise (CI, `2>log`) a plain line every 3 s.
//! It measures nothing; `Progress::elapsed` comes from the run. It never writes to stdout, which contains only the report.

mod dashboard;
mod line;

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use muster_core::printable::printable;
use muster_report::result::RunResult;

use crate::workload;
use dashboard::Dashboard;
pub(crate) use line::clock_text;
use line::{bar_line, joining_line, plain_line, reading_line};

/// Interval between two plain lines: short enough to show that the run does not hang, long enough to keep the log of an hour readable.
const PLAIN_INTERVAL: Duration = Duration::from_secs(3);

/// The progress of a run at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The step of a search, such as `step 3: 412 queries/s`.
    pub step: Option<String>,
    /// Agents that are connected now.
    pub joined: u64,
    pub agents_wanted: u64,
    pub rows_total: u64,
    /// Settled rows, failed ones included.
    pub rows_done: u64,
    pub failed: u64,
    /// Estimated percentiles, for display only; `None` before the first result.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    /// Time since the first query was allowed to start.
    pub elapsed: Duration,
}

/// A progress display that several callers can share by reference without mixing their lines.
pub struct ProgressDisplay {
    mode: Mode,
}

enum Mode {
    Bar(ProgressBar),
    Plain(Mutex<Plain>),
    Dashboard(Dashboard),
    Quiet,
}

struct Plain {
    out: Box<dyn Write + Send>,
    /// The number of agents when it was last printed.
    joined: Option<u64>,
    /// When the next line about reading the workload is due, because its progress contains no elapsed time.
    reading_due: Option<Instant>,
    /// The elapsed time of the run at which the next line is due.
    due: Duration,
}

impl ProgressDisplay {
    /// Writes to stderr, as a bar if stderr is a terminal whose cursor can be moved.
    pub fn new(moves_cursor: bool) -> Self {
        if moves_cursor {
            Self::bar(ProgressDrawTarget::stderr())
        } else {
            Self::plain(Box::new(io::stderr()))
        }
    }

    /// Draws the dashboard of `--tui`, if stderr is a terminal with enough lines. Otherwise it is like [`new`](Self::new), with a notice.
    pub fn dashboard(moves_cursor: bool, rows: Option<u16>) -> Self {
        if moves_cursor && rows.is_some_and(|rows| rows >= dashboard::ROWS_MIN) {
            return Self { mode: Mode::Dashboard(Dashboard::new()) };
        }
        let display = Self::new(moves_cursor);
        display.println(&format!(
            "--tui needs a terminal with {} lines; showing progress without it",
            dashboard::ROWS_MIN
        ));
        display
    }

    /// Returns true if [`so_far`](Self::so_far) shows something.
    pub fn is_dashboard(&self) -> bool {
        matches!(self.mode, Mode::Dashboard(_))
    }

    /// Shows what is known of a run in progress on the dashboard.
    pub fn so_far(&self, result: &RunResult, stage: &str) {
        if let Mode::Dashboard(dashboard) = &self.mode {
            dashboard.show(result, stage);
        }
    }

    /// Prints only errors: no progress and no notices.
    pub fn quiet() -> Self {
        Self { mode: Mode::Quiet }
    }

    /// Discards all output, for tests with a thousand runs.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::plain(Box::new(io::sink()))
    }

    fn bar(target: ProgressDrawTarget) -> Self {
        // When the bar is dropped, it is removed from the terminal above the report.
        let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
        bar.set_style(style("{wide_msg}"));
        Self { mode: Mode::Bar(bar) }
    }

    fn plain(out: Box<dyn Write + Send>) -> Self {
        let plain = Plain { out, joined: None, reading_due: None, due: PLAIN_INTERVAL };
        Self { mode: Mode::Plain(Mutex::new(plain)) }
    }

    /// Shows progress while the workload is read. In plain mode a line appears only if that takes longer than 3 s.
    pub fn reading(&self, progress: &workload::Progress) {
        match &self.mode {
            Mode::Bar(bar) => bar.set_message(reading_line(progress)),
            Mode::Dashboard(dashboard) => dashboard.show_stage(reading_line(progress)),
            Mode::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let due = *plain.reading_due.get_or_insert(now + PLAIN_INTERVAL);
                if now >= due {
                    plain.reading_due = Some(now + PLAIN_INTERVAL);
                    plain.line(&reading_line(progress));
                }
            }
            Mode::Quiet => {}
        }
    }

    /// Shows how many agents have joined while some are missing.
    pub fn joining(&self, joined: u64, wanted: u64) {
        match &self.mode {
            Mode::Bar(bar) => bar.set_message(joining_line(joined, wanted)),
            Mode::Dashboard(dashboard) => dashboard.show_stage(joining_line(joined, wanted)),
            Mode::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                // A line for each of a thousand agents would hide the notices that name the missing agents.
                let has_changed = plain.joined.replace(joined) != Some(joined);
                if has_changed && joined == wanted {
                    plain.line(&joining_line(joined, wanted));
                }
            }
            Mode::Quiet => {}
        }
    }

    /// Shows progress while queries run. Call it several times a second; in plain mode it limits its own rate.
    pub fn running(&self, progress: &Progress) {
        match &self.mode {
            Mode::Bar(bar) => {
                // The message is set first, so that it never appears beside a bar of another phase.
                bar.set_message(bar_line(progress));
                if bar.length().is_none() {
                    bar.set_style(style("{bar:10} {wide_msg}").progress_chars("##-"));
                }
                bar.set_length(progress.rows_total);
                bar.set_position(progress.rows_done);
            }
            Mode::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                if progress.elapsed >= plain.due {
                    plain.due = progress.elapsed.saturating_add(PLAIN_INTERVAL);
                    plain.line(&plain_line(progress));
                }
            }
            Mode::Dashboard(_) | Mode::Quiet => {}
        }
    }

    /// Prints a permanent line above the bar. Prints nothing in quiet mode.
    pub fn println(&self, line: &str) {
        match &self.mode {
            // `bar.println` is not used, because it prints nothing when the bar is hidden.
            Mode::Bar(bar) => bar.suspend(|| write_line(&mut io::stderr(), line)),
            Mode::Dashboard(dashboard) => dashboard.print(|| write_line(&mut io::stderr(), line)),
            Mode::Plain(plain) => plain.lock().unwrap_or_else(PoisonError::into_inner).line(line),
            Mode::Quiet => {}
        }
    }

    /// Prints an error that ends the run, even in quiet mode.
    pub fn error(&self, line: &str) {
        match &self.mode {
            Mode::Bar(_) | Mode::Dashboard(_) | Mode::Plain(_) => self.println(line),
            Mode::Quiet => write_line(&mut io::stderr(), line),
        }
    }

    /// Removes the bar, before the report is printed.
    pub fn finish(&self) {
        match &self.mode {
            Mode::Bar(bar) => bar.finish_and_clear(),
            Mode::Dashboard(dashboard) => dashboard.finish(),
            Mode::Plain(_) | Mode::Quiet => {}
        }
    }
}

impl Plain {
    fn line(&mut self, line: &str) {
        write_line(&mut self.out, line);
    }
}

/// Errors are ignored, because they could only be reported on stderr, which is not writable.
fn write_line(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{}", printable(line));
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant in this file, and a test renders it")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::line::tests::progress;
    use super::*;

    /// Captures the output of a display.
    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn without_a_terminal_a_line_is_printed_every_three_seconds() {
        let captured = Captured::default();
        let display = ProgressDisplay::plain(Box::new(captured.clone()));
        for tenths in 0..100 {
            let elapsed = Duration::from_millis(tenths * 100);
            display.running(&Progress { elapsed, ..progress(tenths, 0) });
        }
        display.finish();
        let after: Vec<bool> = captured
            .lines()
            .iter()
            .zip(["after 3 s", "after 6 s", "after 9 s"])
            .map(|(line, at)| line.contains(at))
            .collect();
        assert_eq!(after, [true, true, true], "{:#?}", captured.lines());
        assert_eq!(captured.lines().len(), 3);
    }

    #[test]
    fn joining_is_printed_when_all_agents_have_joined() {
        let captured = Captured::default();
        let display = ProgressDisplay::plain(Box::new(captured.clone()));
        for joined in [0, 1, 2, 2, 1, 2] {
            display.joining(joined, 2);
        }
        assert_eq!(captured.lines(), ["agents: 2 of 2 joined", "agents: 2 of 2 joined"]);
    }

    #[test]
    fn a_printed_line_cannot_move_the_cursor() {
        let captured = Captured::default();
        ProgressDisplay::plain(Box::new(captured.clone())).println("slot-1 lost: \u{1b}[2J");
        assert_eq!(captured.lines(), ["slot-1 lost: \\u{1b}[2J"]);
    }

    #[test]
    fn the_bar_shows_joining_then_running_and_is_removed_at_the_end() {
        let display = ProgressDisplay::bar(ProgressDrawTarget::hidden());
        display.joining(1, 2);
        display.running(&progress(1_234, 12));
        let Mode::Bar(bar) = &display.mode else {
            panic!("the display has no bar");
        };
        assert_eq!((bar.position(), bar.length()), (1_234, Some(20_000)));
        display.finish();
        assert!(bar.is_finished());
    }
}
