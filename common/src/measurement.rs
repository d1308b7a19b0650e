//! What one execution of one row gave: the unit that travels from a worker to the ledger.

use crate::ids::RowId;
use crate::limits;
use crate::random::SplitMix64;

/// One execution of one row. All times in nanoseconds of the agent's monotonic clock; differences only, never a wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    pub row: RowId,
    /// From the end of its session's countdown to the start of this execution.
    pub start_ns: u64,
    pub lag: Lag,
    /// From writing Bind/Execute to ReadyForQuery, all rows read.
    pub service_time_ns: u64,
    pub execution: Execution,
    pub outcome: Outcome,
}

/// The time from a row's due time to its start, in two parts. In a closed loop without think time a row is due when its worker is free, and
/// both parts are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// The worker was still busy with earlier queries, so the server or the number of connections is the limit.
    pub queueing_ns: u64,
    /// The worker was free: this is the load generator's own delay. Only this part is evidence against the generator.
    pub generator_delay_ns: u64,
}

impl Lag {
    /// All times in nanoseconds since the same moment. `free_ns` is the end of the worker's previous query, `ready_ns` the moment at
    /// which it had a connection again, if it had to reconnect: that time belongs to neither part.
    pub fn between(due_ns: u64, free_ns: u64, ready_ns: Option<u64>, start_ns: u64) -> Self {
        let able_ns = due_ns.max(free_ns).max(ready_ns.unwrap_or(0));
        Self {
            queueing_ns: free_ns.min(start_ns).saturating_sub(due_ns),
            generator_delay_ns: start_ns.saturating_sub(able_ns),
        }
    }

    pub fn total_ns(self) -> u64 {
        self.queueing_ns.saturating_add(self.generator_delay_ns)
    }
}

/// Which of the executions it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Execution {
    /// The rounds of a run are numbered in their order.
    pub round: u32,
    /// Position among the run's statements.
    pub statement: u16,
    /// Of this statement on its connection, from 1; 0 where that is not known.
    pub number: u32,
}

impl Execution {
    /// PostgreSQL plans a prepared statement for the values of each of its first executions, and may use a generic plan for all later ones.
    pub const CUSTOM_PLANS: u32 = 5;

    /// True for the executions that PostgreSQL plans for their values, where PostgreSQL decides.
    pub fn is_early(&self) -> bool {
        (1..=Self::CUSTOM_PLANS).contains(&self.number)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed(Answer),
    Failed(QueryError),
}

/// What a completed query returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    pub rows: u64,
    /// Bytes of all DataRow messages' column values, without the protocol's own.
    pub bytes: u64,
    /// A 64-bit hash of every value in order. It differs between text and binary.
    pub digest: u64,
}

impl Answer {
    /// Marks the digest as that of a text result. The same values in binary are different bytes, as a rule, and never count as the same
    /// result.
    #[must_use]
    pub fn as_text(self) -> Self {
        Self { digest: !self.digest, ..self }
    }

    /// The hash with the row that it answers: two rows that swap their answers give another sum. Digests of a run are added (mod 2^64), so
    /// the order of arrival does not matter.
    pub fn digest_of(&self, row: u64) -> u64 {
        SplitMix64::of_stream(self.digest, row).next()
    }
}

/// Why a query failed, in the server's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryError {
    /// Five characters, such as `22007`; `08006` where the connection ended without the server giving one.
    pub sqlstate: SqlState,
    /// At most [`limits::MESSAGE_CHARS_MAX`] characters.
    pub message: String,
    /// The server's DETAIL, at most [`limits::ADVICE_CHARS_MAX`] characters. It may have values of the row in it.
    pub detail: Option<String>,
    /// The server's HINT, or how to avoid the error; at most [`limits::ADVICE_CHARS_MAX`] characters.
    pub hint: Option<String>,
}

impl QueryError {
    /// Creates an error without detail and hint.
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// Limits the length to what is sent and kept, and removes zero bytes, which separate the texts in a journal.
    #[must_use]
    pub fn shortened(self) -> Self {
        let advice = |text: Option<String>| Some(first_chars(text?, limits::ADVICE_CHARS_MAX));
        Self {
            sqlstate: self.sqlstate,
            message: first_chars(self.message, limits::MESSAGE_CHARS_MAX),
            detail: advice(self.detail),
            hint: advice(self.hint),
        }
    }
}

fn first_chars(mut text: String, count: usize) -> String {
    text.retain(|character| character != '\0');
    if let Some((end, _)) = text.char_indices().nth(count) {
        text.truncate(end);
    }
    text
}

/// A five-character SQLSTATE: digits and upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// A value that the protocol cannot carry: PostgreSQL's "character not in repertoire".
    pub const CANNOT_SEND: Self = Self(*b"22021");
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    pub const CANNOT_CONNECT: Self = Self(*b"08001");
    pub const QUERY_CANCELED: Self = Self(*b"57014");

    pub fn try_new(code: &str) -> Result<Self, InvalidSqlState> {
        let bytes: [u8; 5] = code.as_bytes().try_into().map_err(|_| InvalidSqlState(code.to_owned()))?;
        if bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
            Ok(Self(bytes))
        } else {
            Err(InvalidSqlState(code.to_owned()))
        }
    }

    /// Class 42, syntax errors and access rule violations: errors about the statement's text.
    pub fn is_about_statement(&self) -> bool {
        self.0.starts_with(b"42")
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII digits and letters are stored")
    }
}

impl std::fmt::Display for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SQLSTATE (five digits or upper-case letters)")]
pub struct InvalidSqlState(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(due: u64, free: u64, ready: Option<u64>, start: u64, expected: (u64, u64)) {
        let lag = Lag::between(due, free, ready, start);
        assert_eq!((lag.queueing_ns, lag.generator_delay_ns), expected);
    }

    #[test]
    fn waiting_for_a_busy_worker_is_queueing_and_the_rest_is_the_generators_delay() {
        check(100, 0, None, 107, (0, 7));
        check(100, 150, None, 153, (50, 3));
        check(100, 100, None, 100, (0, 0));
        check(100, 80, None, 90, (0, 0));
        assert_eq!(Lag::between(100, 150, None, 153).total_ns(), 53, "start - due");
    }

    #[test]
    fn time_spent_reconnecting_is_in_neither_part() {
        check(100, 0, Some(900), 905, (0, 5));
        check(100, 150, Some(900), 905, (50, 5));
        // The worker had reconnected before the row was due.
        check(1_000, 150, Some(900), 1_005, (0, 5));
    }
}
