//! The measurement of one execution of one row. It goes from the worker to the coordinator, into the journal and into exported files.

pub mod columns;

use muster_stats::random::SplitMix64;

use crate::ids::RowId;
use crate::limits;

/// One execution of one row. All times are durations in nanoseconds of the agent's monotonic clock, never wall-clock times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub row: RowId,
    /// From the synchronized start of the session's round to the start of this execution.
    pub start_ns: u64,
    pub lag: Lag,
    /// From writing Bind/Execute to ReadyForQuery, with all rows read.
    pub service_time_ns: u64,
    pub execution: Execution,
    pub outcome: Outcome,
}

impl Sample {
    /// Returns a completed execution of a row in which every number is 0, for struct updates.
    pub fn zero(row: RowId) -> Self {
        Self {
            row,
            start_ns: 0,
            lag: Lag::default(),
            service_time_ns: 0,
            execution: Execution::default(),
            outcome: Outcome::Completed(Answer::default()),
        }
    }

    /// Returns the result of a completed query.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Completed(answer) => Some(answer),
            Outcome::Failed(_) => None,
        }
    }

    fn set_answer(&mut self, set: impl FnOnce(&mut Answer)) {
        if let Outcome::Completed(answer) = &mut self.outcome {
            set(answer);
        }
    }
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
    /// Computes the lag. All times are in nanoseconds since the same moment. `free_ns` is the end of the worker's previous query;
    /// `ready_ns` is when the worker had a connection again, if it had to reconnect. Time spent reconnecting belongs to neither part.
    pub fn between(due_ns: u64, free_ns: u64, ready_ns: Option<u64>, start_ns: u64) -> Self {
        let earliest_ns = due_ns.max(free_ns).max(ready_ns.unwrap_or(0));
        Self {
            queueing_ns: free_ns.min(start_ns).saturating_sub(due_ns),
            generator_delay_ns: start_ns.saturating_sub(earliest_ns),
        }
    }

    pub fn total_ns(self) -> u64 {
        self.queueing_ns.saturating_add(self.generator_delay_ns)
    }
}

/// Identifies the execution within the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Execution {
    /// Number of the round within the run.
    pub round: u32,
    /// Index into the run's statements.
    pub statement: u16,
    /// Number of the execution of this statement on its connection, from 1; 0 if unknown.
    pub number: u32,
}

impl Execution {
    /// Number of executions of a prepared statement for which PostgreSQL makes a custom plan. It may use a generic plan for later ones.
    pub const CUSTOM_PLANS: u32 = 5;

    /// Returns true for executions with a custom plan, if PostgreSQL chooses the plan type.
    pub fn is_early(&self) -> bool {
        (1..=Self::CUSTOM_PLANS).contains(&self.number)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed(Answer),
    Failed(QueryError),
}

/// The result of a completed query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    pub rows: u64,
    /// Bytes of all column values in DataRow messages, without protocol overhead.
    pub bytes: u64,
    /// A 64-bit hash of all values in order. Text and binary results have different hashes.
    pub digest: u64,
}

impl Answer {
    /// Marks the digest as that of a text result, so that it never equals the digest of a binary result, whose bytes usually differ.
    #[must_use]
    pub fn as_text(self) -> Self {
        Self { digest: !self.digest, ..self }
    }

    /// Returns the digest combined with the row's id, so that exchanging the results of two rows changes the sum. Digests of a run are
    /// added (mod 2^64), so the order of arrival does not matter.
    pub fn digest_of(&self, row: u64) -> u64 {
        SplitMix64::of_stream(self.digest, row).next()
    }
}

/// The error of a failed query as reported by the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryError {
    /// Five characters, such as `22007`; `08006` if the connection ended without an error from the server.
    pub sqlstate: SqlState,
    /// At most [`limits::MESSAGE_CHARS_MAX`] characters.
    pub message: String,
    /// The server's DETAIL, at most [`limits::ADVICE_CHARS_MAX`] characters. It may contain values of the row.
    pub detail: Option<String>,
    /// The server's HINT, or how to avoid the error; at most [`limits::ADVICE_CHARS_MAX`] characters.
    pub hint: Option<String>,
}

impl QueryError {
    /// Creates an error without detail and hint.
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// Truncates the texts to the limits, and removes NUL characters, which separate the texts in a journal.
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
    /// A value that the protocol cannot carry; PostgreSQL's error "character not in repertoire".
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

    /// Returns true for class 42, syntax error or access rule violation: errors in the statement itself.
    pub fn is_about_statement(&self) -> bool {
        self.0.starts_with(b"42")
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("contains only ASCII digits and letters")
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
    fn waiting_for_a_busy_worker_is_queueing_and_the_rest_is_generator_delay() {
        check(100, 0, None, 107, (0, 7));
        check(100, 150, None, 153, (50, 3));
        check(100, 100, None, 100, (0, 0));
        check(100, 80, None, 90, (0, 0));
        assert_eq!(Lag::between(100, 150, None, 153).total_ns(), 53, "start - due");
    }

    #[test]
    fn reconnect_time_is_in_neither_part() {
        check(100, 0, Some(900), 905, (0, 5));
        check(100, 150, Some(900), 905, (50, 5));
        // The worker had reconnected before the row was due.
        check(1_000, 150, Some(900), 1_005, (0, 5));
    }
}
