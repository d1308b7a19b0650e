//! The errors of rows that are not the server's own: no connection, a lost connection, a timeout.

use std::io;
use std::time::Duration;

use muster_core::limits;
use muster_core::protocol::ResultFormat;
use muster_core::sample::{Answer, Outcome, QueryError, SqlState};

use crate::frontend::Lost;

/// Fails a query that took longer than `--timeout`. The measured time decides, because the timer that cancels a query counts whole
/// milliseconds and may be delayed on a busy machine.
pub(crate) fn check_timeout(limit: Option<Duration>, service_time: Duration, answer: Answer) -> Outcome {
    match limit {
        Some(limit) if service_time > limit => {
            let message =
                format!("no answer within {limit:?} (--timeout); it arrived before the query was cancelled");
            Outcome::Failed(QueryError::new(SqlState::QUERY_CANCELED, message))
        }
        _ => Outcome::Completed(answer),
    }
}

/// The error of a query that ran longer than `--timeout`, even if it completed before it was cancelled.
pub(crate) fn timed_out(limit: Duration, ended: Option<Duration>) -> QueryError {
    let end = match ended {
        Some(_) => "cancelled on the server".to_owned(),
        None => format!("the server did not end it within {:?} of the cancel", limits::CANCEL_GRACE),
    };
    let message = format!("no answer within {limit:?} (--timeout); {end}");
    QueryError::new(SqlState::QUERY_CANCELED, message)
}

/// Returns how to avoid an error that is caused by this program or by the server's role.
pub(crate) fn hint(sqlstate: SqlState, is_read_only: bool, format: ResultFormat) -> Option<&'static str> {
    match sqlstate.as_str() {
        // This can be a type inside a record, which is not known before the statement runs.
        "42883" if format == ResultFormat::Binary => {
            Some("if a type of the result has no binary output, request the results as text: --results text")
        }
        "25006" if is_read_only => Some(
            "sessions are read-only unless the agent runs with --allow-writes; instead of --local, start agents with \
             `agent --allow-writes`",
        ),
        "25006" => Some("the server is a standby, or its sessions are read-only by default"),
        _ => None,
    }
}

pub(crate) fn cannot_connect(message: String) -> QueryError {
    QueryError::new(SqlState::CANNOT_CONNECT, message)
}

pub(crate) fn cannot_send(error: &io::Error) -> QueryError {
    QueryError::new(SqlState::CANNOT_SEND, format!("cannot send the row: {error}"))
}

pub(crate) fn connection_lost(lost: &Lost) -> QueryError {
    QueryError::new(SqlState::CONNECTION_FAILURE, lost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_times_out_by_its_measured_time() {
        let check = |limit: Option<u64>, service_time: u64, is_completed: bool| {
            let outcome = check_timeout(
                limit.map(Duration::from_nanos),
                Duration::from_nanos(service_time),
                Answer::default(),
            );
            assert_eq!(matches!(outcome, Outcome::Completed(_)), is_completed, "{limit:?} {service_time}");
        };
        check(None, u64::MAX, true);
        check(Some(5_000_000), 5_000_000, true);
        check(Some(5_000_000), 5_000_001, false);
        check(Some(1), 2, false);
    }
}
