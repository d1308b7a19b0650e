//! What the result says about the run itself.

use muster_common::load::Load;
use muster_common::placement::Method;
use muster_common::result;

use super::statements::Statement;
use crate::threshold::Threshold;
use crate::workload::HostTable;

/// The parameters of a run that its result states. They come from the running process, or from the manifest of a run read from its journal.
pub(crate) struct Subject<'a> {
    pub(crate) run_id: String,
    pub(crate) workload: result::Workload,
    pub(crate) hosts: &'a HostTable,
    pub(crate) placement: Method,
    /// At least one.
    pub(crate) statements: Vec<StatementText>,
    pub(crate) load: &'a Load,
    /// Where the embedded server's programs came from. `None` without an embedded server.
    pub(crate) embedded: Option<String>,
    pub(crate) command: String,
    pub(crate) thresholds: &'a [Threshold],
}

/// A statement of the run.
pub(crate) struct StatementText {
    pub(crate) name: String,
    /// The SQL text. The text of the default query depends on the server; this is the one for TimescaleDB.
    pub(crate) sql: String,
    /// The columns that `$1`, `$2`, … represent.
    pub(crate) columns: Vec<String>,
    pub(crate) weight: u32,
}

impl StatementText {
    pub(crate) fn of(statement: &Statement) -> Self {
        let (name, template) = (statement.name().to_owned(), statement.template());
        let (sql, columns) = (template.sql().to_owned(), template.columns().to_owned());
        Self { name, sql, columns, weight: statement.weight() }
    }
}
