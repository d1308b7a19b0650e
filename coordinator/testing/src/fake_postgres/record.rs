//! What the fake server recorded, by its own monotonic clock. The times bound what a correct client measures: it started after the
//! previous answer was sent, and stopped before it sent its next bytes.

use std::time::{Duration, Instant};

/// One connection, in the order of opening.
#[derive(Debug, Clone)]
pub struct Session {
    pub application_name: String,
}

/// One execution of the run's statement.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Position in [`Record::sessions`].
    pub session: usize,
    /// The parameters as received; `None` is NULL.
    pub parameters: Vec<Option<String>>,
    /// When the previous answer was sent on this connection.
    pub previous_answer: Instant,
    pub received: Instant,
    /// Just before the answer's last byte was written; `None` for a connection that was dropped.
    pub answered: Option<Instant>,
    /// When the next bytes, or the end of the connection, were received.
    pub next_received: Option<Instant>,
    /// True if the answer is a completed query.
    pub is_completed: bool,
}

impl Execution {
    pub fn host(&self) -> &str {
        self.parameters[0].as_deref().unwrap_or_default()
    }

    /// The lower bound of a correct measurement: from the receipt of Execute to the writing of the answer.
    pub fn at_least(&self) -> Duration {
        self.answered.expect("the query was answered") - self.received
    }

    /// The upper bound of a correct measurement: from the previous answer to the next bytes received. Too wide for the first and the last
    /// query of a connection, which include the wait for the run's start and end.
    pub fn at_most(&self) -> Duration {
        self.next_received.expect("the connection has ended") - self.previous_answer
    }
}

#[derive(Debug, Clone, Default)]
pub struct Record {
    pub sessions: Vec<Session>,
    /// In the order of receipt.
    pub executions: Vec<Execution>,
    /// The sessions for which a CancelRequest was received.
    pub cancelled: Vec<usize>,
    /// Every SQL text received, in either protocol.
    pub statements: Vec<String>,
}

impl Record {
    pub fn completed(&self) -> impl Iterator<Item = &Execution> {
        self.executions.iter().filter(|execution| execution.is_completed)
    }

    pub fn of_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Execution> {
        self.executions.iter().filter(move |execution| execution.host() == host)
    }

    pub fn application_name(&self, execution: &Execution) -> &str {
        &self.sessions[execution.session].application_name
    }
}
