//! The statement of a run: one SQL statement with `:column` placeholders, rewritten to PostgreSQL's `$1`, `$2`, ….
//! Values never enter the text: they travel as parameters, so SQL in a host name stays data. Nothing here judges the SQL itself;
//! the server does, and [`Template::original_position`] leads its complaints back to what was typed.

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

/// A statement, ready to be prepared.
///
/// Placeholders are found as psql finds its variables: not in literals, quoted identifiers, dollar quotes and comments, and neither
/// `::type` nor `:=` is one. So `a[1:2]` is a slice, but `a[lo:hi]` holds the placeholder `:hi`, as in psql; with a blank after the
/// colon it is a slice again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    sql: String,
    columns: Vec<String>,
    /// In the order of the text.
    replacements: Vec<Replacement>,
    placeholders: Vec<Placeholder>,
}

/// A `$n` in the statement as the server gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder {
    /// Byte at which it begins.
    pub start: usize,
    /// Byte behind it.
    pub end: usize,
    /// From 0: which of the row's values.
    pub parameter: usize,
}

/// One placeholder, before and after. Counted in characters from 0, as PostgreSQL counts from 1.
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
        "line {line}: a second statement begins after the ';': a run times one statement, so leave the others out"
    )]
    SeveralStatements { line: usize },
    #[error("line {line}: the {what} that begins here has no end: close it with {close}")]
    Unterminated { line: usize, what: &'static str, close: String },
    #[error(
        "line {line}: {placeholder} would write a value into the SQL, which is never done here: write :name without quotes, its \
         value is sent as a parameter (and put a blank after a colon that begins no placeholder)"
    )]
    QuotedPlaceholder { line: usize, placeholder: String },
    #[error(
        "line {line}: {parameter} says nothing of where its value comes from: write :name with the name of a CSV column"
    )]
    NumberedParameter { line: usize, parameter: String },
    #[error(
        "line {line}: ':{column}' is one placeholder too many: PostgreSQL takes values of at most {max} columns"
    )]
    TooManyParameters { line: usize, column: String, max: usize },
    #[error("line {line}: a NUL character, which PostgreSQL takes nowhere in a statement: remove it")]
    Nul { line: usize },
}

impl Template {
    /// Reads one statement. A byte order mark is ignored, and so is a `;` at the end with all blanks and comments behind it;
    /// everything else outside placeholders is kept to the letter.
    pub fn parse(sql: &str) -> Result<Self, TemplateError> {
        let sql = sql.strip_prefix('\u{feff}').unwrap_or(sql);
        if let Some(at) = sql.find('\0') {
            return Err(TemplateError::Nul { line: scan::line_of(sql, at) });
        }
        let mut scanner = Scanner::new(sql);
        let mut rewriting = Rewriting::new(sql);
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
                    rewriting.replace(token.start, token.end)?;
                }
                Kind::Other => is_empty = false,
            }
        }
        if is_empty { Err(TemplateError::Empty) } else { Ok(rewriting.finish(end.unwrap_or(sql.len()))) }
    }

    /// The statement as the server gets it.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The columns whose values are `$1`, `$2`, …; each once.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Where values would stand in [`sql`](Self::sql), in the order of the text.
    pub fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// From a position in [`sql`](Self::sql), as in a server's error, to the one in what was typed. Both count characters from 1;
    /// anywhere in a placeholder is its colon. A byte order mark is not counted, as editors do not.
    pub fn original_position(&self, rewritten: usize) -> usize {
        let at = rewritten.saturating_sub(1);
        let behind = self.replacements.partition_point(|replacement| replacement.rewritten_start <= at);
        let original = match behind.checked_sub(1).map(|last| self.replacements[last]) {
            None => at,
            Some(last) if at < last.rewritten_end => last.original_start,
            Some(last) => last.original_end + (at - last.rewritten_end),
        };
        original + 1
    }
}

/// Replaces each `$n` in a server's message about a statement with `:column`, the n-th of these columns.
pub fn name_parameters(message: &str, columns: &[String]) -> String {
    let mut named = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('$') {
        named.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let column =
            after[..digits].parse::<usize>().ok().and_then(|number| columns.get(number.checked_sub(1)?));
        // `a$1` is a name, and `$1a` is not a parameter of the statement.
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

/// The text on its way from `:name` to `$n`.
struct Rewriting<'a> {
    original: &'a str,
    /// Byte up to which the original is copied, and the same in characters.
    copied: usize,
    copied_chars: usize,
    sql: String,
    sql_chars: usize,
    columns: Vec<String>,
    /// From column to its number, from 1. A map, because a statement may have thousands.
    numbers: HashMap<&'a str, usize>,
    replacements: Vec<Replacement>,
    placeholders: Vec<Placeholder>,
}

impl<'a> Rewriting<'a> {
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

    /// Replaces the placeholder between these bytes, the colon included.
    fn replace(&mut self, start: usize, end: usize) -> Result<(), TemplateError> {
        self.copy_until(start);
        let number = self.number(start, &self.original[start + 1..end])?;
        // `lo$1` would be one identifier to PostgreSQL, so that the parameter vanished without a word.
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
