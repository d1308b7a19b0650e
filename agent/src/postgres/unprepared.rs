//! Why an agent cannot run this run's rows, as the coordinator is told.

use muster_common::measurement::SqlState;
use muster_proto::control::{PrepareFailed, PrepareFailure};

use super::failure::with_causes;

pub(super) fn refused(error: &tokio_postgres::Error, sql: &str) -> PrepareFailed {
    let Some(server) = error.as_db_error() else {
        return no_database(&with_causes(error));
    };
    let position = match server.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => Some(*position),
        _ => None,
    };
    PrepareFailed {
        message: server.message().to_owned(),
        sqlstate: SqlState::try_new(server.code().code()).ok(),
        detail: server.detail().map(str::to_owned),
        hint: server.hint().map(str::to_owned),
        position,
        ..failed(PrepareFailure::Statement, sql)
    }
}

pub(crate) fn no_database(error: &dyn std::fmt::Display) -> PrepareFailed {
    PrepareFailed { message: error.to_string(), ..failed(PrepareFailure::Database, "") }
}

pub(super) fn failed(kind: PrepareFailure, sql: &str) -> PrepareFailed {
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
