//! The part of a run's definition that its agents receive. It is stored in the run's manifest and sent as JSON, so that an option that
//! reaches the agents is defined once.

pub mod milliseconds;
mod statements;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::Load;
pub use statements::{NoStatement, Statement, StatementText, Statements};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// Rows refer to them by position.
    pub statements: Statements,
    #[serde(default)]
    pub load: Load,
    /// Time zone of the database sessions.
    pub timezone: String,
    /// A query that takes longer is cancelled on the server. `None`: no limit.
    #[serde(rename = "timeout_ms", with = "milliseconds::optional")]
    pub timeout: Option<Duration>,
}
