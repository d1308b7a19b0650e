//! The statement of a run: the default one, or a file.

use std::path::Path;

use anyhow::Context;
use muster_common::query::{self, BucketFunction, Template};

use super::Failure;
use crate::run::Statement;
use crate::workload::Checks;

pub(super) fn statement(file: Option<&Path>) -> Result<Statement, Failure> {
    match file {
        None => {
            let sql = query::default_sql(BucketFunction::TimeBucket);
            Ok(Statement::Default(Template::parse(sql).map_err(Failure::internal)?))
        }
        Some(path) => {
            let name = path.display().to_string();
            let sql =
                std::fs::read_to_string(path).with_context(|| format!("cannot read the query from '{name}'"));
            let template = Template::parse(&sql.map_err(Failure::usage)?).with_context(|| name.clone());
            Ok(Statement::Own { name, template: template.map_err(Failure::usage)? })
        }
    }
}

/// Only the demo's own columns can be checked before the database sees them.
pub(super) fn checks(statement: &Statement) -> Checks {
    match statement {
        Statement::Default(_) => {
            Checks::DemoWindow { start_time: "start_time".to_owned(), end_time: "end_time".to_owned() }
        }
        Statement::Own { .. } => Checks::None,
    }
}
