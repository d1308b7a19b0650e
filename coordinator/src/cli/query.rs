//! The statements of a run: the default statement, one file, or a mix of several files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use muster_core::limits;
use muster_core::printable::printable;
use muster_core::query::Template;
use muster_core::session_spec::{Statement, StatementText, Statements};

use muster_report::text::page;

use super::Failure;
use crate::workload::{Checks, ExpectedContent, FileFormat, Mix, MixStatement};

/// `FILE.sql` or `NAME=FILE.sql`, optionally followed by `@WEIGHT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryArg {
    name: Option<String>,
    file: PathBuf,
    weight: u32,
}

impl FromStr for QueryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, |path| Path::new(path).exists())
    }
}

impl QueryArg {
    /// `=` and `@` may also be part of the path: in the name of a directory, or if a file with the whole text as its name exists.
    fn parse(text: &str, exists: impl Fn(&str) -> bool) -> Result<Self, String> {
        let is_whole = |text: &str, part: &str| !exists(part) && exists(text);
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if name.contains('/') || is_whole(text, Self::split_weight(rest).0) => {
                (None, text)
            }
            Some(("", _)) => return Err(format!("'{text}' has no name before the '='")),
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, text),
        };
        let (file, weight) = match Self::split_weight(rest) {
            (file, Some(_)) if is_whole(rest, file) => (rest, 1),
            (file, Some(weight)) => {
                let weight = weight.parse::<u32>().ok().filter(|weight| *weight > 0);
                (
                    file,
                    weight.ok_or_else(|| {
                        format!("'{text}': the weight must be a whole number of at least 1")
                    })?,
                )
            }
            (file, None) => (file, 1),
        };
        if file.is_empty() {
            return Err(format!("'{text}' has no file name"));
        }
        Ok(Self { name, file: file.into(), weight })
    }

    fn split_weight(text: &str) -> (&str, Option<&str>) {
        match text.rsplit_once('@') {
            Some((file, weight)) if weight.bytes().all(|byte| byte.is_ascii_digit()) => (file, Some(weight)),
            _ => (text, None),
        }
    }
}

pub(super) fn statements(queries: &[QueryArg]) -> Result<Statements, Failure> {
    match queries {
        [] => Ok(Statement::default_query().into()),
        [single] => {
            let name = single.name.clone().unwrap_or_else(|| single.file.display().to_string());
            let statements = Statements::from(own(name, &single.file, single.weight)?);
            check_size(&statements, queries).map_err(Failure::usage)?;
            Ok(statements)
        }
        several => {
            let statements = mix(several).map_err(Failure::usage)?;
            check_size(&statements, several).map_err(Failure::usage)?;
            Ok(statements)
        }
    }
}

/// All statements are sent to an agent in one message of limited size. An agent that cannot receive it would rejoin repeatedly.
fn check_size(statements: &Statements, queries: &[QueryArg]) -> anyhow::Result<()> {
    let limit = limits::STATEMENTS_BYTES_MAX;
    let sizes = statements.iter().map(encoded_len).collect::<serde_json::Result<Vec<usize>>>()?;
    let total: usize = sizes.iter().sum();
    let largest = sizes.iter().zip(queries).max_by_key(|(size, _)| **size);
    match largest {
        Some((size, QueryArg { file, .. })) if total > limit => {
            let file = file.display();
            Err(match sizes.len() {
                1 => anyhow!(
                    "the query in '{file}' takes {size} bytes in a message, but all queries of a run are limited to {limit}"
                ),
                count => anyhow!(
                    "the {count} queries take {total} bytes, but all queries of a run are limited to {limit}; the largest, '{file}', takes {size}"
                ),
            })
        }
        _ => Ok(()),
    }
}

/// The bytes of a statement in that message.
fn encoded_len(statement: &Statement) -> serde_json::Result<usize> {
    Ok(serde_json::to_string(statement)?.len())
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
            return Err(anyhow!("two queries have the name '{name}'; names must be unique"));
        }
        statements.push(own(name, file, *weight).map_err(|failure| failure.error)?);
    }
    Ok(statements.try_into()?)
}

fn own(name: String, file: &Path, weight: u32) -> Result<Statement, Failure> {
    let shown = file.display();
    let sql = Some(read(file).map_err(Failure::usage)?);
    let statement = Statement::try_from(StatementText { name, sql, weight });
    statement.with_context(|| shown.to_string()).map_err(Failure::usage)
}

/// Reads an SQL file, up to the size limit of a run, because the file may be a pipe that never ends.
fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let limit = limits::STATEMENTS_BYTES_MAX;
    let cannot_read = || format!("cannot read the query from '{shown}'");
    let opened = File::open(file).with_context(cannot_read)?;
    let bytes = opened.metadata().with_context(cannot_read)?.len();
    let mut text = Vec::new();
    opened.take(limit as u64 + 1).read_to_end(&mut text).with_context(cannot_read)?;
    if let Some(format) = FileFormat::of(&text) {
        bail!("the query in '{shown}' is {}", format.hint(ExpectedContent::Sql));
    }
    if text.len() > limit {
        let bytes = bytes.max(text.len() as u64);
        bail!("the query in '{shown}' has {bytes} bytes, but all queries of a run are limited to {limit}");
    }
    let text = String::from_utf8(text).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow!(
            "the query in '{shown}' is not UTF-8 (line {line}); save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 {shown}"
        )
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// The columns that the statements use, without duplicates.
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

/// How each row selects its statement in a mix; `None` if there is only one statement.
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

/// Only the columns of the default query can be checked in advance. `timezone` is the time zone of the sessions, if known.
pub(super) fn checks(statements: &Statements, timezone: Option<&str>) -> Checks {
    match statements.first().is_default() {
        true => Checks::DemoWindow {
            start_time: "start_time".to_owned(),
            end_time: "end_time".to_owned(),
            timezone: timezone.map(str::to_owned),
        },
        false => Checks::None,
    }
}

/// Formats the line of the query in which the server found the error, with a caret below the error, as psql does. `position` counts
/// characters in `sql` from 1 and is mapped to the text that the user wrote. A long line is truncated around the error. The default
/// query has no user text and is shown as sent.
pub(super) fn place(original: Option<(&str, &Template)>, sql: &str, position: u32) -> String {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    let (text, position) = match original {
        Some((source, template)) => (source, template.original_position(position)),
        None => (sql, position),
    };
    let before: String = text.chars().take(position.saturating_sub(1)).collect();
    let line_number = before.matches('\n').count();
    let Some(line) = text.lines().nth(line_number) else { return String::new() };
    let begin = before.rsplit('\n').next().unwrap_or_default();
    let position = begin.chars().count();
    // A statement may be a single line of several megabytes.
    let cut = position.saturating_sub(LINE_CHARS_MAX);
    let mut rest = line.chars().skip(position);
    let behind: String = rest.by_ref().take(LINE_CHARS_MAX).collect();
    let [head, tail] = [cut > 0, rest.next().is_some()].map(|is_cut| if is_cut { "…" } else { "" });
    // A tab would shift the caret, and a wide character takes two columns.
    let shown = |text: &str| printable(&text.replace('\t', " "));
    let begin = format!("{head}{}", shown(&begin.chars().skip(cut).collect::<String>()));
    let label = format!("LINE {}: ", line_number + 1);
    let caret = label.len() + page::columns(&begin);
    format!("\n{label}{begin}{}{tail}\n{:caret$}^", shown(&behind), "")
}

/// Number of characters shown on each side of the error.
const LINE_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_an_error_is_mapped_to_the_users_text() {
        let source = "SELECT host\nFROM cpu_usage WHERE host = :hostname AND nonsense";
        let sql = "SELECT host\nFROM cpu_usage WHERE host = $1 AND nonsense";
        let position = u32::try_from(sql.find("nonsense").unwrap() + 1).unwrap();
        let expected = "\nLINE 2: FROM cpu_usage WHERE host = :hostname AND nonsense\n                                                  ^";
        let template = Template::parse(source).unwrap();
        assert_eq!(place(Some((source, &template)), sql, position), expected);
        let long = format!("SELECT {}, é nonsense, {}", "1".repeat(500), "2".repeat(500));
        let position = u32::try_from(long.chars().position(|c| c == 'n').unwrap() + 1).unwrap();
        let expected = format!(
            "\nLINE 1: …{}, é nonsense, {}…\n{}^",
            "1".repeat(96),
            "2".repeat(90),
            " ".repeat("LINE 1: …".chars().count() + 100)
        );
        assert_eq!(place(None, &long, position), expected);
    }

    #[test]
    fn the_caret_is_aligned_after_tabs_and_wide_characters() {
        let sql = "SELECT 1\n\t'東京' nonsense";
        let position = u32::try_from(sql.chars().position(|c| c == 's').unwrap() + 1).unwrap();
        let expected = "\nLINE 2:  '東京' nonsense\n                   ^";
        assert_eq!(place(None, sql, position), expected);
    }

    #[test]
    fn a_query_has_a_file_and_may_have_a_name_and_a_weight() {
        let files = ["dir=1/q.sql", "a=1.sql", "b.sql@2", "both=c.sql", "c.sql", "=d.sql"];
        let parse = |text: &str| QueryArg::parse(text, |path| files.contains(&path));
        let check = |text: &str, name: Option<&str>, file: &str, weight| {
            let expected = QueryArg { name: name.map(str::to_owned), file: file.into(), weight };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("q.sql", None, "q.sql", 1);
        check("read=q.sql", Some("read"), "q.sql", 1);
        check("read=dir/q.sql@3", Some("read"), "dir/q.sql", 3);
        check("me@home.sql", None, "me@home.sql", 1);
        check("read=dir=1/q.sql@3", Some("read"), "dir=1/q.sql", 3);
        check("dir=1/q.sql", None, "dir=1/q.sql", 1);
        check("dir/q=1.sql@3", None, "dir/q=1.sql", 3);
        check("./=q.sql", None, "./=q.sql", 1);
        check("a=1.sql", None, "a=1.sql", 1);
        check("read=a=1.sql", Some("read"), "a=1.sql", 1);
        check("b.sql@2", None, "b.sql@2", 1);
        check("read=b.sql@2", Some("read"), "b.sql@2", 1);
        check("both=c.sql", Some("both"), "c.sql", 1);
        check("both=c.sql@5", Some("both"), "c.sql", 5);
        check("=d.sql", None, "=d.sql", 1);
        for bad in ["", "=q.sql", "read=", "q.sql@0", "q.sql@99999999999", "@3"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn problem(files: &[(&str, &[u8])]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let queries: Vec<QueryArg> = files
            .iter()
            .map(|(name, content)| {
                let file = directory.path().join(name);
                std::fs::write(&file, content).unwrap();
                QueryArg { name: Some((*name).to_owned()), file, weight: 1 }
            })
            .collect();
        let problem = statements(&queries).err().map(|failure| failure.message()).unwrap_or_default();
        problem.replace(&format!("{}/", directory.path().display()), "")
    }

    #[test]
    fn an_error_names_the_encoding_of_a_query_that_is_not_utf_8() {
        assert_eq!(
            problem(&[("q.sql", b"SELECT 1\nAS \xe9")]),
            "the query in 'q.sql' is not UTF-8 (line 2); save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 q.sql"
        );
        assert!(
            problem(&[("q.sql", b"\xff\xfeS\0")]).starts_with("the query in 'q.sql' is UTF-16; convert it")
        );
        assert!(
            problem(&[("q.sql", b"S\0E\0L\0E\0C\0")])
                .starts_with("the query in 'q.sql' is UTF-16; convert it")
        );
        assert_eq!(problem(&[("q.sql", b"\xef\xbb\xbf\xef\xbb\xbfSELECT 1")]), "");
    }

    #[test]
    fn queries_that_exceed_a_message_are_refused_with_their_sizes() {
        let limit = limits::STATEMENTS_BYTES_MAX;
        let long = |bytes: usize| format!("SELECT 1 --{}\n AS a", "x".repeat(bytes)).into_bytes();
        assert_eq!(problem(&[("q.sql", &long(limit - 100))]), "");
        assert_eq!(
            problem(&[("q.sql", &long(limit))]),
            "the query in 'q.sql' has 7340049 bytes, but all queries of a run are limited to 7340032"
        );
        let (half, more) = (long(limit / 2), long(limit / 2 + 1));
        let both = problem(&[("a.sql", &half), ("b.sql", &more)]);
        assert!(both.starts_with("the 2 queries take 7340"), "{both}");
        assert!(both.contains("are limited to 7340032; the largest, 'b.sql', takes 36700"), "{both}");
        // Quotation marks take two bytes in a message.
        let quotes = format!("SELECT 1 --{}", "\"".repeat(limit / 2)).into_bytes();
        let error = problem(&[("q.sql", &quotes)]);
        assert!(
            error.starts_with("the query in 'q.sql' takes ") && error.contains(" bytes in a message, but "),
            "{error}"
        );
    }
}
