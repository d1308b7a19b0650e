//! What a person sees on stderr while a run is on: a bar in a terminal, a plain line every 3 s elsewhere (CI, `2>log`).
//! Measures nothing: `Progress::elapsed` is the run's time. Never writes to stdout, which is the report's.

mod line;

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use muster_common::printable::printable;

use crate::workload;
use line::{bar_line, joining_line, plain_line, reading_line};

/// Between two plain lines: a log of an hour stays readable, and nobody thinks that the run hangs.
const PLAIN_EVERY: Duration = Duration::from_secs(3);

/// A cheap look at a run, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Of a search: what is tried, `step 3: 412 queries/s`.
    pub step: Option<String>,
    /// Agents that are in the run now.
    pub joined: u64,
    pub agents_wanted: u64,
    pub rows_total: u64,
    /// Settled rows, failed ones included.
    pub rows_done: u64,
    pub failed: u64,
    /// Estimates, for the eye only; `None` before the first result.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    /// Since the first query was allowed to start.
    pub elapsed: Duration,
}

/// Shared by reference: every verb takes `&self`, and lines of several callers do not mix.
pub struct ProgressDisplay {
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Plain(Mutex<Plain>),
    Quiet,
}

struct Plain {
    out: Box<dyn Write + Send>,
    /// The count when it was last told.
    joined: Option<u64>,
    /// When the next line on reading is due: reading has no time of its own.
    reading_due: Option<Instant>,
    /// The next line is due when the run is this old.
    due: Duration,
}

impl ProgressDisplay {
    /// Writes to stderr; as a bar if that is a terminal whose cursor can be moved.
    pub fn new(moves_cursor: bool) -> Self {
        if moves_cursor {
            Self::bar(ProgressDrawTarget::stderr())
        } else {
            Self::plain(Box::new(io::stderr()))
        }
    }

    /// Only errors: no progress, no notices.
    pub fn quiet() -> Self {
        Self { shown: Shown::Quiet }
    }

    /// For a thousand runs in one test.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::plain(Box::new(io::sink()))
    }

    fn bar(target: ProgressDrawTarget) -> Self {
        // Dropped on any path, the bar leaves no trace in the terminal above the report.
        let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
        bar.set_style(style("{wide_msg}"));
        Self { shown: Shown::Bar(bar) }
    }

    fn plain(out: Box<dyn Write + Send>) -> Self {
        let plain = Plain { out, joined: None, reading_due: None, due: PLAIN_EVERY };
        Self { shown: Shown::Plain(Mutex::new(plain)) }
    }

    /// While the workload is read. A small one is over before anybody could read this.
    pub fn reading(&self, progress: &workload::Progress) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(reading_line(progress)),
            Shown::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let due = *plain.reading_due.get_or_insert(now + PLAIN_EVERY);
                if now >= due {
                    plain.reading_due = Some(now + PLAIN_EVERY);
                    plain.line(&reading_line(progress));
                }
            }
            Shown::Quiet => {}
        }
    }

    /// While agents are missing.
    pub fn joining(&self, joined: u64, wanted: u64) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(joining_line(joined, wanted)),
            Shown::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                // A line for each of a thousand agents would bury the notices of who is missing.
                let is_news = plain.joined.replace(joined) != Some(joined);
                if is_news && joined == wanted {
                    plain.line(&joining_line(joined, wanted));
                }
            }
            Shown::Quiet => {}
        }
    }

    /// While queries run; call it as often as is convenient, several times a second in a terminal.
    pub fn running(&self, progress: &Progress) {
        match &self.shown {
            Shown::Bar(bar) => {
                // The message first: it must not stand beside a bar of another phase.
                bar.set_message(bar_line(progress));
                if bar.length().is_none() {
                    bar.set_style(style("{bar:10} {wide_msg}").progress_chars("##-"));
                }
                bar.set_length(progress.rows_total);
                bar.set_position(progress.rows_done);
            }
            Shown::Plain(plain) => {
                let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
                if progress.elapsed >= plain.due {
                    plain.due = progress.elapsed.saturating_add(PLAIN_EVERY);
                    plain.line(&plain_line(progress));
                }
            }
            Shown::Quiet => {}
        }
    }

    /// Prints a line that stays, above the bar. Prints nothing in quiet mode.
    pub fn say(&self, line: &str) {
        match &self.shown {
            // Not `bar.println`, which says nothing when the bar is hidden.
            Shown::Bar(bar) => bar.suspend(|| put(&mut io::stderr(), line)),
            Shown::Plain(plain) => plain.lock().unwrap_or_else(PoisonError::into_inner).line(line),
            Shown::Quiet => {}
        }
    }

    /// The same for an error that ends the run, which is printed even in quiet mode.
    pub fn error(&self, line: &str) {
        match &self.shown {
            Shown::Bar(_) | Shown::Plain(_) => self.say(line),
            Shown::Quiet => put(&mut io::stderr(), line),
        }
    }

    /// Takes the bar away, before the report is printed.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Plain {
    fn line(&mut self, line: &str) {
        put(&mut self.out, line);
    }
}

/// A failure to write is passed over: stderr is where it would have to be told.
fn put(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{}", printable(line));
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is a constant of this file, and a test draws it")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::line::tests::progress;
    use super::*;

    /// What a display writes, kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_three_seconds() {
        let kept = Kept::default();
        let display = ProgressDisplay::plain(Box::new(kept.clone()));
        for tenths in 0..100 {
            let elapsed = Duration::from_millis(tenths * 100);
            display.running(&Progress { elapsed, ..progress(tenths, 0) });
        }
        display.finish();
        let after: Vec<bool> = kept
            .lines()
            .iter()
            .zip(["after 3 s", "after 6 s", "after 9 s"])
            .map(|(line, at)| line.contains(at))
            .collect();
        assert_eq!(after, [true, true, true], "{:#?}", kept.lines());
        assert_eq!(kept.lines().len(), 3);
    }

    #[test]
    fn joining_is_said_once_all_are_there() {
        let kept = Kept::default();
        let display = ProgressDisplay::plain(Box::new(kept.clone()));
        for joined in [0, 1, 2, 2, 1, 2] {
            display.joining(joined, 2);
        }
        assert_eq!(kept.lines(), ["agents: 2 of 2 joined", "agents: 2 of 2 joined"]);
    }

    #[test]
    fn what_is_said_cannot_move_the_cursor() {
        let kept = Kept::default();
        ProgressDisplay::plain(Box::new(kept.clone())).say("slot-1 lost: \u{1b}[2J");
        assert_eq!(kept.lines(), ["slot-1 lost: \\u{1b}[2J"]);
    }

    #[test]
    fn the_bar_goes_from_joining_to_running_to_nothing() {
        let display = ProgressDisplay::bar(ProgressDrawTarget::hidden());
        display.joining(1, 2);
        display.running(&progress(1_234, 12));
        let Shown::Bar(bar) = &display.shown else {
            panic!("a bar was asked for");
        };
        assert_eq!((bar.position(), bar.length()), (1_234, Some(20_000)));
        display.finish();
        assert!(bar.is_finished());
    }
}
