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
            let source = sql.map_err(Failure::usage)?;
            let template = Template::parse(&source).with_context(|| name.clone()).map_err(Failure::usage)?;
            Ok(Statement::Own { name, source, template })
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

/// The line of the query that the server complains about, with a caret below, as psql shows it. `position` counts characters
/// from 1 in `sql`; it is led back to the text that the user wrote. The default query has no such text and is shown as sent.
pub(super) fn place(original: Option<(&str, &Template)>, sql: &str, position: u32) -> String {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    let (text, position) = match original {
        Some((source, template)) => (source, template.original_position(position)),
        None => (sql, position),
    };
    let before: String = text.chars().take(position.saturating_sub(1)).collect();
    let line_number = before.matches('\n').count();
    let Some(line) = text.lines().nth(line_number) else { return String::new() };
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let label = format!("LINE {}: ", line_number + 1);
    format!("\n{label}{line}\n{:1$}^", "", label.len() + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_position_points_into_the_users_text() {
        let source = "SELECT host\nFROM cpu_usage WHERE host = :hostname AND nonsense";
        let sql = "SELECT host\nFROM cpu_usage WHERE host = $1 AND nonsense";
        let position = u32::try_from(sql.find("nonsense").unwrap() + 1).unwrap();
        let expected = "\nLINE 2: FROM cpu_usage WHERE host = :hostname AND nonsense\n                                                  ^";
        let template = Template::parse(source).unwrap();
        assert_eq!(place(Some((source, &template)), sql, position), expected);
    }
}
