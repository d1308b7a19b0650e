//! Runs queries in the simple protocol, which leaves no prepared statement behind and works through poolers. Every value is text.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::with_causes;

/// An error from the server, or the loss of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryError {
    /// Empty if the server did not send one.
    pub(super) sqlstate: String,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
}

impl QueryError {
    fn of(error: &tokio_postgres::Error) -> Self {
        let server = error.as_db_error();
        Self {
            sqlstate: server.map(|error| error.code().code().to_owned()).unwrap_or_default(),
            message: server.map_or_else(|| with_causes(error), |error| error.message().to_owned()),
            detail: server.and_then(|error| error.detail().map(str::to_owned)),
            hint: server.and_then(|error| error.hint().map(str::to_owned)),
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.sqlstate.is_empty() {
            write!(f, " (SQLSTATE {})", self.sqlstate)?;
        }
        for (label, text) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
            if let Some(text) = text {
                write!(f, "; {label}: {text}")?;
            }
        }
        Ok(())
    }
}

/// One row: its values by column name.
pub(super) struct Row(BTreeMap<String, String>);

/// Returns the rows of all statements in `sql`.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<Row>, QueryError> {
    let messages = client.simple_query(sql).await.map_err(|error| QueryError::of(&error))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let named = row.columns().iter().enumerate();
            let cells =
                named.filter_map(|(at, column)| Some((column.name().to_owned(), row.get(at)?.to_owned())));
            Some(Row(cells.collect()))
        }
        _ => None,
    });
    Ok(rows.collect())
}

impl Row {
    /// Returns a value. `None` for NULL and for a column that does not exist.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }

    pub(super) fn number(&self, column: &str) -> Option<i64> {
        self.text(column)?.parse().ok()
    }

    /// Returns a counter, which is never negative. 0 if this version of the server does not have it.
    pub(super) fn count(&self, column: &str) -> u64 {
        self.text(column).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Converts fractional milliseconds to nanoseconds.
    pub(super) fn nanoseconds(&self, column: &str) -> u64 {
        let ms: f64 = self.text(column).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        // The cast saturates. Negative values do not occur.
        (ms * 1e6).round() as u64
    }

    pub(super) fn is_on(&self, column: &str) -> bool {
        matches!(self.text(column), Some("on" | "t" | "true"))
    }
}
