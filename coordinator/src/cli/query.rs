//! The statements of a run: the default one, a file, or several files that make a mix.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow};
use muster_common::limits;
use muster_common::query::{self, BucketFunction, Template};

use super::Failure;
use crate::run::{Statement, Statements};
use crate::workload::{Checks, Mix, MixStatement};

/// `FILE.sql`, or `NAME=FILE.sql`, each with `@WEIGHT` behind it where it is to have a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryArg {
    name: Option<String>,
    file: PathBuf,
    weight: u32,
}

impl FromStr for QueryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = match text.split_once('=') {
            Some(("", _)) => return Err(format!("'{text}' has no name before the '='")),
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, text),
        };
        let (file, weight) = match rest.rsplit_once('@') {
            Some((file, weight)) if weight.bytes().all(|byte| byte.is_ascii_digit()) => {
                let weight = weight.parse::<u32>().ok().filter(|weight| *weight > 0);
                (file, weight.ok_or_else(|| format!("'{text}': a weight is a whole number from 1 on"))?)
            }
            _ => (rest, 1),
        };
        if file.is_empty() {
            return Err(format!("'{text}' names no file"));
        }
        Ok(Self { name, file: file.into(), weight })
    }
}

pub(super) fn statements(queries: &[QueryArg]) -> Result<Statements, Failure> {
    match queries {
        [] => {
            let sql = query::default_sql(BucketFunction::TimeBucket);
            let template = Template::parse(sql).map_err(Failure::internal)?;
            Ok(Statements::new(Statement::Default(template), Vec::new()))
        }
        [single] => {
            let name = single.name.clone().unwrap_or_else(|| single.file.display().to_string());
            Ok(Statements::new(own(name, &single.file, single.weight)?, Vec::new()))
        }
        several => mix(several).map_err(Failure::usage),
    }
}

fn mix(queries: &[QueryArg]) -> anyhow::Result<Statements> {
    if queries.len() > limits::STATEMENTS_MAX {
        return Err(anyhow!("a mix has at most {} queries", limits::STATEMENTS_MAX));
    }
    let mut statements: Vec<Statement> = Vec::with_capacity(queries.len());
    for QueryArg { name, file, weight } in queries {
        let file_shown = file.display();
        let name = name.clone().ok_or_else(|| {
            anyhow!("several queries need names: write --query NAME={file_shown} for '{file_shown}'")
        })?;
        if statements.iter().any(|statement| statement.name() == name) {
            return Err(anyhow!("two queries have the name '{name}': rows could mean either"));
        }
        statements.push(own(name, file, *weight).map_err(|failure| failure.error)?);
    }
    let first = statements.remove(0);
    Ok(Statements::new(first, statements))
}

fn own(name: String, file: &Path, weight: u32) -> Result<Statement, Failure> {
    let shown = file.display();
    let sql = std::fs::read_to_string(file).with_context(|| format!("cannot read the query from '{shown}'"));
    let source = sql.map_err(Failure::usage)?;
    let template = Template::parse(&source).with_context(|| shown.to_string()).map_err(Failure::usage)?;
    Ok(Statement::Own { name, source, template, weight })
}

/// The columns that any of the statements needs, each once.
pub(super) fn columns(statements: &Statements) -> Vec<String> {
    if !statements.is_mix() {
        return statements.first().template().columns().to_vec();
    }
    let mut columns: Vec<String> = Vec::new();
    for column in statements.iter().flat_map(|statement| statement.template().columns()) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    columns
}

/// How rows choose among several statements.
pub(super) fn choice(statements: &Statements, column: &str, seed: u64) -> Option<Mix> {
    statements.is_mix().then(|| Mix {
        column: column.to_owned(),
        statements: statements
            .iter()
            .map(|statement| MixStatement {
                name: statement.name().to_owned(),
                parameters: statement.template().columns().to_vec(),
                weight: statement.weight(),
            })
            .collect(),
        seed,
    })
}

/// Only the demo's own columns can be checked before the database sees them.
pub(super) fn checks(statements: &Statements) -> Checks {
    match statements.first() {
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

    #[test]
    fn a_query_has_a_file_and_may_have_a_name_and_a_weight() {
        let check = |text: &str, name: Option<&str>, file: &str, weight| {
            let expected = QueryArg { name: name.map(str::to_owned), file: file.into(), weight };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        };
        check("q.sql", None, "q.sql", 1);
        check("read=q.sql", Some("read"), "q.sql", 1);
        check("read=dir/q.sql@3", Some("read"), "dir/q.sql", 3);
        check("me@home.sql", None, "me@home.sql", 1);
        for bad in ["", "=q.sql", "read=", "q.sql@0", "q.sql@99999999999", "@3"] {
            assert!(bad.parse::<QueryArg>().is_err(), "{bad}");
        }
    }
}
