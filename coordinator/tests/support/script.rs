//! What the fake does with one row, as the row itself says: `8ms`, `250us; rows 3`, `5ms; error 22012 division by zero`, `drop`,
//! `terminate`, `forever`, `deaf`. A delay, an ending, or both; nothing is an answer of one row at once.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) delay: Delay,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    For(Duration),
    UntilCancelled,
    /// As `UntilCancelled`, but cancels are not heard.
    Deaf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Rows(u64),
    Error {
        sqlstate: String,
        message: String,
    },
    /// The connection ends without a word.
    Drop,
    /// As an administrator ends it: 57P01, then the end.
    Terminate,
}

impl Script {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self { delay: Delay::For(Duration::ZERO), ending: Ending::Rows(1) };
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let unknown = || format!("the fake has no '{part}'");
            match part.split_once(' ') {
                None if part == "drop" => script.ending = Ending::Drop,
                None if part == "terminate" => script.ending = Ending::Terminate,
                None if part == "forever" => script.delay = Delay::UntilCancelled,
                None if part == "deaf" => script.delay = Delay::Deaf,
                None => script.delay = Delay::For(duration(part).ok_or_else(unknown)?),
                Some(("rows", count)) => script.ending = Ending::Rows(count.parse().map_err(|_| unknown())?),
                Some(("error", words)) => {
                    let (sqlstate, message) = words.split_once(' ').ok_or_else(unknown)?;
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
