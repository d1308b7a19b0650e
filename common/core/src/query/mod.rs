//! A statement of a run: one SQL statement with `:column` placeholders, rewritten to PostgreSQL's `$1`, `$2`, ….
//! Values are sent as parameters and never become part of the SQL text, so SQL in a host name stays data. The SQL itself is checked only by
//! the server; [`Template::original_position`] maps positions in its error messages to the text as typed.

mod default;
#[doc(hidden)]
pub mod fuzzing;
mod literal;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::limits;

pub use default::{BucketFunction, default_sql, for_server};
pub use literal::{quote, with_literals};
use scan::{Kind, Scanner};

/// A statement that is ready to be prepared.
///
/// Placeholders follow psql's rules for variables: there are none in literals, quoted identifiers, dollar quotes and comments, and neither
/// `::type` nor `:=` is one. So `a[1:2]` is a slice, but `a[lo:hi]` contains the placeholder `:hi`, as in psql; with a space after the
/// colon it is a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    sql: String,
    columns: Vec<String>,
    /// In text order.
    replacements: Vec<Replacement>,
    placeholders: Vec<Placeholder>,
}

/// A `$n` in the statement as sent to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder {
    /// Byte offset of its start.
    pub start: usize,
    /// Byte offset after its end.
    pub end: usize,
    /// Index of the row's value, from 0.
    pub parameter: usize,
}

/// The position of one placeholder before and after rewriting, in characters from 0. (PostgreSQL counts from 1.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replacement {
    original_start: usize,
    original_end: usize,
    rewritten_start: usize,
    rewritten_end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the statement is empty: write one query, such as SELECT 1")]
    Empty,
    #[error(
        "line {line}: a second statement begins after the ';': a run times one statement, so remove the others"
    )]
    SeveralStatements { line: usize },
    #[error("line {line}: unterminated {what}: close it with {close}")]
    Unterminated { line: usize, what: &'static str, close: String },
    #[error(
        "line {line}: {placeholder} would insert a value into the SQL text, which is not supported: write :name without quotes, its \
         value is sent as a parameter (or put a space after a colon that does not begin a placeholder)"
    )]
    QuotedPlaceholder { line: usize, placeholder: String },
    #[error("line {line}: {parameter} does not name a column: write :name with the name of a CSV column")]
    NumberedParameter { line: usize, parameter: String },
    #[error("line {line}: too many placeholders at ':{column}': PostgreSQL allows at most {max} parameters")]
    TooManyParameters { line: usize, column: String, max: usize },
    #[error("line {line}: NUL character, which PostgreSQL does not allow in a statement: remove it")]
    Nul { line: usize },
}

impl Template {
    /// Parses one statement. Ignores a byte order mark, and a `;` at the end with all white space and comments after it. Keeps everything
    /// else outside placeholders unchanged.
    pub fn parse(sql: &str) -> Result<Self, TemplateError> {
        let sql = sql.strip_prefix('\u{feff}').unwrap_or(sql);
        if let Some(at) = sql.find('\0') {
            return Err(TemplateError::Nul { line: scan::line_of(sql, at) });
        }
        let mut scanner = Scanner::new(sql);
        let mut rewriter = Rewriter::new(sql);
        let mut is_empty = true;
        let mut end = None;
        while let Some(token) = scanner.next()? {
            match token.kind {
                Kind::Blank => {}
                Kind::Semicolon => end = end.or(Some(token.start)),
                Kind::Placeholder | Kind::Other if end.is_some() => {
                    return Err(TemplateError::SeveralStatements { line: scan::line_of(sql, token.start) });
                }
                Kind::Placeholder => {
                    is_empty = false;
                    rewriter.replace(token.start, token.end)?;
                }
                Kind::Other => is_empty = false,
            }
        }
        if is_empty { Err(TemplateError::Empty) } else { Ok(rewriter.finish(end.unwrap_or(sql.len()))) }
    }

    /// Returns the statement as sent to the server.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns the columns whose values are `$1`, `$2`, …; each column once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the placeholders in [`sql`](Self::sql), in text order.
    pub fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// Maps a position in [`sql`](Self::sql), as in a server's error, to the position in the text as typed. Both count characters from 1.
    /// Every position within a placeholder maps to its colon. A byte order mark is not counted, as in editors.
    pub fn original_position(&self, rewritten: usize) -> usize {
        let at = rewritten.saturating_sub(1);
        let count = self.replacements.partition_point(|replacement| replacement.rewritten_start <= at);
        let original = match count.checked_sub(1).map(|last| self.replacements[last]) {
            None => at,
            Some(last) if at < last.rewritten_end => last.original_start,
            Some(last) => last.original_end + (at - last.rewritten_end),
        };
        original + 1
    }
}

/// Replaces each `$n` in a server's error message with `:column`, using the n-th of `columns`.
pub fn name_parameters(message: &str, columns: &[String]) -> String {
    let mut named = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('$') {
        named.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let column =
            after[..digits].parse::<usize>().ok().and_then(|number| columns.get(number.checked_sub(1)?));
        // `a$1` is an identifier, and `$1a` is not a parameter.
        let is_whole = |c: char| !c.is_alphanumeric() && c != '_' && c != '$';
        let stands_alone = named.chars().next_back().is_none_or(is_whole)
            && after[digits..].chars().next().is_none_or(is_whole);
        match column.filter(|_| stands_alone) {
            Some(column) => {
                named.push(':');
                named.push_str(column);
                rest = &after[digits..];
            }
            None => {
                named.push('$');
                rest = after;
            }
        }
    }
    named + rest
}

/// Rewrites a statement from `:name` to `$n`.
struct Rewriter<'a> {
    original: &'a str,
    /// Offset up to which the original is copied, in bytes and in characters.
    copied: usize,
    copied_chars: usize,
    sql: String,
    sql_chars: usize,
    columns: Vec<String>,
    /// Parameter number of each column, from 1. A map, because a statement may have thousands of columns.
    numbers: HashMap<&'a str, usize>,
    replacements: Vec<Replacement>,
    placeholders: Vec<Placeholder>,
}

impl<'a> Rewriter<'a> {
    fn new(original: &'a str) -> Self {
        Self {
            original,
            copied: 0,
            copied_chars: 0,
            sql: String::with_capacity(original.len()),
            sql_chars: 0,
            columns: Vec::new(),
            numbers: HashMap::new(),
            replacements: Vec::new(),
            placeholders: Vec::new(),
        }
    }

    /// Replaces the placeholder at these byte offsets, including its colon.
    fn replace(&mut self, start: usize, end: usize) -> Result<(), TemplateError> {
        self.copy_until(start);
        let number = self.number(start, &self.original[start + 1..end])?;
        // PostgreSQL would read `lo$1` as one identifier, and the parameter would be lost without an error.
        let glued = self.sql.as_bytes().last().is_some_and(|byte| scan::is_in_word(*byte));
        let replacement = format!("{}${number}", if glued { " " } else { "" });
        let original_chars = self.original[start..end].chars().count();
        self.replacements.push(Replacement {
            original_start: self.copied_chars,
            original_end: self.copied_chars + original_chars,
            rewritten_start: self.sql_chars,
            rewritten_end: self.sql_chars + replacement.len(),
        });
        self.copied = end;
        self.copied_chars += original_chars;
        self.sql_chars += replacement.len();
        self.sql.push_str(&replacement);
        let (end, parameter) = (self.sql.len(), number - 1);
        self.placeholders.push(Placeholder { start: end - replacement.trim_start().len(), end, parameter });
        Ok(())
    }

    fn number(&mut self, start: usize, column: &'a str) -> Result<usize, TemplateError> {
        if let Some(number) = self.numbers.get(column) {
            return Ok(*number);
        }
        let max = limits::PARAMETERS_MAX;
        if self.columns.len() == max {
            let line = scan::line_of(self.original, start);
            return Err(TemplateError::TooManyParameters { line, column: column.to_owned(), max });
        }
        self.columns.push(column.to_owned());
        self.numbers.insert(column, self.columns.len());
        Ok(self.columns.len())
    }

    fn copy_until(&mut self, end: usize) {
        let text = &self.original[self.copied..end];
        let chars = text.chars().count();
        self.sql.push_str(text);
        self.sql_chars += chars;
        self.copied_chars += chars;
        self.copied = end;
    }

    fn finish(mut self, end: usize) -> Template {
        self.copy_until(end);
        Template {
            sql: self.sql,
            columns: self.columns,
            replacements: self.replacements,
            placeholders: self.placeholders,
        }
    }
}
