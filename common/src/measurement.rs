//! What one execution of one row gave: the unit that travels from a worker to the ledger.

use crate::ids::RowId;
use crate::random::SplitMix64;

/// One execution of one row. All times in nanoseconds of the agent's monotonic clock; differences only, never a wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    pub row: RowId,
    /// From the end of its session's countdown to the start of this execution.
    pub start_ns: u64,
    /// Start minus due time; 0 in a closed loop.
    pub lag_ns: u64,
    /// From writing Bind/Execute to ReadyForQuery, all rows read.
    pub service_time_ns: u64,
    pub execution: Execution,
    pub outcome: Outcome,
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
    /// PostgreSQL plans a prepared statement anew for each of its first executions, and may keep a generic plan from the next one on.
    pub const CUSTOM_PLANS: u32 = 5;

    /// Among those that PostgreSQL plans anew.
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
    /// A 64-bit hash of every value in order.
    pub digest: u64,
}

impl Answer {
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
    pub message: String,
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
