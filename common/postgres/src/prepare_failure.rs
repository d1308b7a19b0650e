//! Converts errors into the reason, for the coordinator, why an agent cannot run the rows of a run.

use muster_core::prepare::{PrepareFailed, PrepareFailure};

use crate::server_error::ServerError;

pub(crate) fn refused(error: ServerError, sql: &str) -> PrepareFailed {
    let ServerError { is_fatal: _, sqlstate, message, detail, hint, position } = error;
    let failed = failed(PrepareFailure::Statement, sql);
    PrepareFailed { message, sqlstate: Some(sqlstate), detail, hint, position, ..failed }
}

pub fn no_database(error: &dyn std::fmt::Display) -> PrepareFailed {
    PrepareFailed { message: error.to_string(), ..failed(PrepareFailure::Database, "") }
}

pub(crate) fn failed(kind: PrepareFailure, sql: &str) -> PrepareFailed {
    PrepareFailed {
        kind,
        message: String::new(),
        sqlstate: None,
        detail: None,
        hint: None,
        position: None,
        sql: sql.to_owned(),
    }
}
