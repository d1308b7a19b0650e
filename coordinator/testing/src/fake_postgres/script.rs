//! The behaviour of the fake server for one row, given in the row itself: `8ms`, `250us; rows 3`, `5ms; error 22012 division by zero`,
//! `drop`, `terminate`, `forever`, `ignore-cancel`. A delay, an ending, or both; an empty script returns one row immediately.

use std::time::Duration;

/// A statement with the parameters that the fake expects.
pub const QUERY: &str = "SELECT answer FROM fake WHERE host = :hostname AND script = :script";

/// A word that the fake refuses with a syntax error at its position.
pub const NONSENSE: &str = "nonsense";

/// A comment that makes the first connection end as soon as it has prepared the statement.
pub const FICKLE: &str = "/* fickle */";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) delay: Delay,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    For(Duration),
    UntilCancelled,
    /// Like `UntilCancelled`, but cancel requests are ignored.
    IgnoresCancel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Rows(u64),
    Error {
        sqlstate: String,
        message: String,
    },
    /// The connection is closed without a message.
    Drop,
    /// As if an administrator ended it: error 57P01, then the connection is closed.
    Terminate,
}

impl Script {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self { delay: Delay::For(Duration::ZERO), ending: Ending::Rows(1) };
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let unknown = || format!("the fake does not support '{part}'");
            match part.split_once(' ') {
                None if part == "drop" => script.ending = Ending::Drop,
                None if part == "terminate" => script.ending = Ending::Terminate,
                None if part == "forever" => script.delay = Delay::UntilCancelled,
                None if part == "ignore-cancel" => script.delay = Delay::IgnoresCancel,
                None => script.delay = Delay::For(duration(part).ok_or_else(unknown)?),
                Some(("rows", count)) => script.ending = Ending::Rows(count.parse().map_err(|_| unknown())?),
                Some(("error", rest)) => {
                    let (sqlstate, message) = rest.split_once(' ').ok_or_else(unknown)?;
                    script.ending =
                        Ending::Error { sqlstate: sqlstate.to_owned(), message: message.to_owned() };
                }
                Some(_) => return Err(unknown()),
            }
        }
        Ok(script)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let number = |unit| text.strip_suffix(unit)?.parse::<u64>().ok();
    number("us").map(Duration::from_micros).or_else(|| number("ms").map(Duration::from_millis))
}
