//! Logging of both programs, to stderr. `MUSTER_LOG` selects what is logged, in the syntax of tracing's filters (`info`,
//! `muster_agent=debug`).

use std::ffi::OsStr;
use std::fmt;
use std::io::{IsTerminal, stderr};

use muster_core::printable::printable;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{self, Writer};

/// Starts logging in this process. With `quiet`, only errors are logged, regardless of `MUSTER_LOG`. Without `MUSTER_LOG`, `default` is
/// the filter.
pub fn start(default: &str, quiet: bool) {
    let filter = match quiet {
        true => EnvFilter::new("error"),
        false => EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new(default)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(Terminal::of_process().has_colours())
        .with_writer(stderr)
        .fmt_fields(one_line())
        .init();
}

/// Writes the message and the fields of an event. They may contain names and messages of peers, so everything that could start a new line
/// or move the cursor is escaped.
fn one_line() -> impl for<'writer> FormatFields<'writer> {
    let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", printable(&text)),
            name => write!(writer, "{name}={}", printable(&text)),
        }
    };
    format::debug_fn(write).delimited(" ")
}

/// The number of lines of the terminal on stderr; `None` if stderr is not a terminal.
pub fn rows() -> Option<u16> {
    rustix::termios::tcgetwinsize(stderr()).ok().map(|size| size.ws_row)
}

/// What the terminal on stderr supports.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    is_terminal: bool,
    is_dumb: bool,
    forbids_colours: bool,
}

impl Terminal {
    pub fn of_process() -> Self {
        let [no_color, term] = ["NO_COLOR", "TERM"].map(std::env::var_os);
        Self::new(stderr().is_terminal(), no_color.as_deref(), term.as_deref())
    }

    fn new(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        Self {
            is_terminal,
            is_dumb: term.is_some_and(|term| term == "dumb"),
            forbids_colours: no_color.is_some_and(|value| !value.is_empty()),
        }
    }

    /// Returns true if the cursor can be moved, which a progress bar needs.
    pub fn moves_cursor(self) -> bool {
        self.is_terminal && !self.is_dumb
    }

    /// Returns true if colours can be used. A non-empty value of `NO_COLOR` forbids them (<https://no-color.org>).
    pub(crate) fn has_colours(self) -> bool {
        self.moves_cursor() && !self.forbids_colours
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects the log output.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_from_a_peer_stays_on_one_line() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(one_line())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let hostile = "db1\n2026-01-01 ERROR forged\r\u{1b}[2J\u{202e}txt";
            tracing::info!(slot = hostile, "joined: {hostile}");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(text.matches(r"db1\n2026-01-01 ERROR forged\r\u{1b}[2J\u{202e}txt").count(), 2, "{text}");
        assert!(!text.trim_end().contains(char::is_control) && text.contains("slot="), "{text}");
    }

    #[test]
    fn colours_need_a_capable_terminal_and_no_opt_out() {
        let check = |is_terminal, no_color: Option<&str>, term: Option<&str>, expected| {
            let terminal = Terminal::new(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(terminal.has_colours(), expected, "{terminal:?}");
        };
        check(true, None, Some("xterm"), true);
        check(true, None, None, true);
        check(true, Some(""), Some("xterm"), true);
        check(true, Some("1"), Some("xterm"), false);
        check(true, Some("0"), Some("xterm"), false);
        check(true, None, Some("dumb"), false);
        check(false, None, Some("xterm"), false);
    }

    #[test]
    fn a_progress_bar_needs_a_cursor_but_no_colours() {
        let terminal = |term| Terminal::new(true, Some(OsStr::new("1")), Some(OsStr::new(term)));
        assert!(terminal("xterm").moves_cursor() && !terminal("dumb").moves_cursor());
    }
}
