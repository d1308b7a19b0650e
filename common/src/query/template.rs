//! A parsed statement: what the server gets, which columns it takes, and the way back from the server's positions to the user's text.

use super::scan::{Token, line_of, scan};
use crate::limits;

/// One statement with its placeholders as `$1`, `$2`, …; the same column twice is one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    sql: String,
    columns: Vec<String>,
    /// For each placeholder, in order: where it begins in `sql`, and where in `source`, and how long it is there. In characters from 0.
    moves: Vec<Move>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move {
    rewritten_start: usize,
    rewritten_end: usize,
    source_start: usize,
    source_end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the query is empty")]
    Empty,
    #[error("line {line}: a second statement begins here; a query is one statement")]
    SecondStatement { line: usize },
    #[error("line {line}: this {what} is never closed")]
    Unterminated { what: &'static str, line: usize },
    #[error(
        "line {line}: write the placeholder as :name, without {quote}: its value is sent as a parameter and needs no quotes"
    )]
    QuotedPlaceholder { quote: char, line: usize },
    #[error("the query has {found} placeholders; PostgreSQL takes {}", limits::PARAMETERS_MAX)]
    TooManyParameters { found: usize },
}

impl Template {
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let tokens = scan(source)?;
        let tokens = one_statement(source, &tokens)?;
        let mut sql = String::with_capacity(source.len());
        let mut columns: Vec<String> = Vec::new();
        let mut moves = Vec::new();
        let mut position = Position::default();
        for token in tokens {
            match *token {
                Token::Code { start, end } | Token::Blank { start, end } => {
                    position.advance(&source[start..end]);
                    sql.push_str(&source[start..end]);
                }
                Token::Placeholder { start, end } => {
                    let parameter = format!("${}", number_of(&source[start..end], &mut columns));
                    moves.push(position.replace(&source[start - 1..end], &parameter));
                    sql.push_str(&parameter);
                }
                Token::Semicolon { .. } => {}
            }
        }
        if columns.len() > limits::PARAMETERS_MAX {
            return Err(TemplateError::TooManyParameters { found: columns.len() });
        }
        Ok(Self { source: source.to_owned(), sql, columns, moves })
    }

    /// The CSV columns of `$1`, `$2`, ….
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// As sent to the server.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// As the user wrote it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// From a position in [`sql`](Self::sql) to the one in [`source`](Self::source): characters from 1, as PostgreSQL counts.
    pub fn source_position(&self, rewritten: usize) -> usize {
        let at = rewritten.saturating_sub(1);
        let before = self.moves.iter().rev().find(|place| place.rewritten_start <= at);
        let source = match before {
            None => at,
            Some(place) if at < place.rewritten_end => place.source_start,
            Some(place) => at - place.rewritten_end + place.source_end,
        };
        source + 1
    }
}

/// The tokens up to the semicolon that ends the statement; nothing but blanks may follow it.
fn one_statement<'a>(source: &str, tokens: &'a [Token]) -> Result<&'a [Token], TemplateError> {
    let is_code = |token: &&Token| matches!(token, Token::Code { .. } | Token::Placeholder { .. });
    let end =
        tokens.iter().position(|token| matches!(token, Token::Semicolon { .. })).unwrap_or(tokens.len());
    let (statement, rest) = tokens.split_at(end);
    if !statement.iter().any(|token| is_code(&token)) {
        return Err(TemplateError::Empty);
    }
    match rest.iter().find(is_code) {
        Some(Token::Code { start, .. } | Token::Placeholder { start, .. }) => {
            Err(TemplateError::SecondStatement { line: line_of(source, *start) })
        }
        _ => Ok(statement),
    }
}

/// From 1; a name that came before keeps its number.
fn number_of(name: &str, columns: &mut Vec<String>) -> usize {
    let known = columns.iter().position(|column| column == name);
    let index = known.unwrap_or_else(|| {
        columns.push(name.to_owned());
        columns.len() - 1
    });
    index + 1
}

/// Characters so far in both texts.
#[derive(Debug, Default)]
struct Position {
    rewritten: usize,
    source: usize,
}

impl Position {
    fn advance(&mut self, same: &str) {
        let characters = same.chars().count();
        self.rewritten += characters;
        self.source += characters;
    }

    fn replace(&mut self, source: &str, rewritten: &str) -> Move {
        let (rewritten_start, source_start) = (self.rewritten, self.source);
        self.rewritten += rewritten.chars().count();
        self.source += source.chars().count();
        Move { rewritten_start, rewritten_end: self.rewritten, source_start, source_end: self.source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(source: &str, sql: &str, columns: &[&str]) {
        let template = Template::parse(source).unwrap();
        assert_eq!(template.sql(), sql, "of {source}");
        assert_eq!(template.columns(), columns, "of {source}");
    }

    #[track_caller]
    fn check_error(source: &str, expected: &str) {
        assert_eq!(Template::parse(source).unwrap_err().to_string(), expected, "of {source}");
    }

    #[test]
    fn placeholders_become_parameters() {
        check("SELECT :a, :b, :a", "SELECT $1, $2, $1", &["a", "b"]);
        check("SELECT :a::int", "SELECT $1::int", &["a"]);
        check("SELECT (:_x1)", "SELECT ($1)", &["_x1"]);
        check("SELECT :größe", "SELECT $1", &["größe"]);
        check("SELECT 1", "SELECT 1", &[]);
    }

    #[test]
    fn casts_assignments_and_slices_by_number_are_none() {
        check("SELECT '1'::int, f(a := 1), a[1:2]", "SELECT '1'::int, f(a := 1), a[1:2]", &[]);
        check("SELECT a[:lo::int : :hi]", "SELECT a[$1::int : $2]", &["lo", "hi"]);
    }

    #[test]
    fn literals_identifiers_and_comments_hide_colons() {
        for hidden in [
            "SELECT ':a', 'it''s :a'",
            r"SELECT E'\':a', e'\\'",
            "SELECT \":a\", \"x\"\":a\"",
            "SELECT $$ :a $$, $t$ :a $$ $t$",
            "SELECT 1 -- :a\n",
            "SELECT 1 /* :a /* :b */ :c */",
            "SELECT U&':a', B':a'",
        ] {
            check(hidden, hidden, &[]);
        }
        check(r"SELECT '\', :a", r"SELECT '\', $1", &["a"]);
        check("SELECT a$b$, :a, '$b$'", "SELECT a$b$, $1, '$b$'", &["a"]);
        check("SELECT some_e':a', :b", "SELECT some_e':a', $1", &["b"]);
    }

    #[test]
    fn one_trailing_semicolon_is_dropped() {
        check("SELECT :a ; -- done\n", "SELECT $1 ", &["a"]);
        check("SELECT :a;;", "SELECT $1", &["a"]);
    }

    #[test]
    fn what_is_no_single_statement_is_refused_with_its_line() {
        check_error("", "the query is empty");
        check_error(" -- nothing\n;", "the query is empty");
        check_error(
            "SELECT 1;\nSELECT 2",
            "line 2: a second statement begins here; a query is one statement",
        );
        check_error("SELECT\n'x", "line 2: this literal is never closed");
        check_error("SELECT /* /* */", "line 1: this comment is never closed");
        check_error("SELECT $x$ $$", "line 1: this dollar-quoted literal is never closed");
        check_error("SELECT \"x", "line 1: this quoted identifier is never closed");
    }

    #[test]
    fn psqls_quoting_placeholders_are_refused_with_the_way_out() {
        let expected = "line 1: write the placeholder as :name, without ': its value is sent as a parameter and needs no quotes";
        check_error("SELECT :'a'", expected);
        check("SELECT a[1:'2'::int]", "SELECT a[1:'2'::int]", &[]);
    }

    #[test]
    fn a_position_of_the_server_leads_back_to_the_users_text() {
        let template = Template::parse("SELECT 'é', :hostname, :hostname, nonsense").unwrap();
        let rewritten = template.sql();
        for word in ["SELECT", "'é'", "nonsense"] {
            let position = |text: &str| text[..text.find(word).unwrap()].chars().count() + 1;
            assert_eq!(template.source_position(position(rewritten)), position(template.source()), "{word}");
        }
        let second = rewritten.rfind("$1").unwrap();
        let in_characters = rewritten[..second].chars().count() + 1;
        assert_eq!(template.source_position(in_characters + 1), 24, "inside of a parameter: its placeholder");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(source in "[:'\"$a1e;/*\\-\\\\ \né=\\[\\]]{0,40}") {
            if let Ok(template) = Template::parse(&source) {
                for position in 0..template.sql().chars().count() + 2 {
                    prop_assert!(template.source_position(position) <= source.chars().count() + 2);
                }
            }
        }

        #[test]
        fn everything_outside_of_placeholders_is_kept(
            pieces in proptest::collection::vec(("[a-z (),=<>]{0,8}", "[a-z]{1,5}"), 1..8),
        ) {
            let source: String = pieces.iter().map(|(code, name)| format!("{code} :{name} ")).collect();
            let template = Template::parse(&source).unwrap();
            let mut back = template.sql().to_owned();
            for (index, name) in template.columns().iter().enumerate().rev() {
                back = back.replace(&format!("${}", index + 1), &format!(":{name}"));
            }
            prop_assert_eq!(back, source);
        }
    }
}
