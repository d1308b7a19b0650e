//! What the fake saw, by its own clock. All instants are of one monotonic clock, so they bound what an honest client measures:
//! it started after the answer before went out, and stopped before it sent anything again.

use std::time::{Duration, Instant};

/// One connection, in the order in which they were opened.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) application_name: String,
}

/// One execution of the run's statement.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    /// Position in [`Record::sessions`].
    pub(crate) session: usize,
    /// As they came; `None` is NULL.
    pub(crate) parameters: Vec<Option<String>>,
    /// When the last answer before, to whatever it was, went out on this connection.
    pub(crate) previous_answer: Instant,
    pub(crate) received: Instant,
    /// Just before the answer's last byte was written; `None` for a connection that was dropped.
    pub(crate) answered: Option<Instant>,
    /// When the client was next heard of on this connection: its next message, or the end.
    pub(crate) heard_again: Option<Instant>,
    /// Whether the answer is a completed query.
    pub(crate) is_completed: bool,
}

impl Execution {
    pub(crate) fn host(&self) -> &str {
        self.parameters[0].as_deref().unwrap_or_default()
    }

    /// From the receipt of Execute to the writing of the answer: an honest measurement is not shorter.
    pub(crate) fn at_least(&self) -> Duration {
        self.answered.expect("only of queries that were answered") - self.received
    }

    /// From the answer before to the next sign of life: an honest measurement is not longer. Wide for the first and the last
    /// query of a connection, which wait for the run's start and end.
    pub(crate) fn at_most(&self) -> Duration {
        self.heard_again.expect("only after the connection's end") - self.previous_answer
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) sessions: Vec<Session>,
    /// In the order of receipt.
    pub(crate) executions: Vec<Execution>,
    /// Sessions for which a CancelRequest came.
    pub(crate) cancelled: Vec<usize>,
    /// Every text that came as SQL, in either protocol.
    pub(crate) statements: Vec<String>,
}

impl Record {
    pub(crate) fn completed(&self) -> impl Iterator<Item = &Execution> {
        self.executions.iter().filter(|execution| execution.is_completed)
    }

    pub(crate) fn of_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Execution> {
        self.executions.iter().filter(move |execution| execution.host() == host)
    }

    pub(crate) fn application_name(&self, execution: &Execution) -> &str {
        &self.sessions[execution.session].application_name
    }
}
