//! SQL's lexical rules, as far as they decide what is a placeholder: literals, quoted identifiers, dollar quotes and comments
//! hide colons. Follows "Lexical Structure" of the PostgreSQL manual, and psql for what follows a colon.

use super::template::TemplateError;

/// A piece of the statement, as byte ranges of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// SQL that is kept as it is.
    Code {
        start: usize,
        end: usize,
    },
    /// Comment or white space: kept, but not a statement by itself.
    Blank {
        start: usize,
        end: usize,
    },
    /// A `:name`; the range is that of the name alone.
    Placeholder {
        start: usize,
        end: usize,
    },
    Semicolon {
        at: usize,
    },
}

/// Cuts the statement into tokens that cover it without gaps.
pub(super) fn scan(sql: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let token = next(sql, at)?;
        at = end_of(token);
        tokens.push(token);
    }
    Ok(tokens)
}

fn end_of(token: Token) -> usize {
    match token {
        Token::Code { end, .. } | Token::Blank { end, .. } | Token::Placeholder { end, .. } => end,
        Token::Semicolon { at } => at + 1,
    }
}

fn next(sql: &str, start: usize) -> Result<Token, TemplateError> {
    let rest = &sql[start..];
    let first = rest.chars().next().unwrap_or_default();
    let code = |length: usize| Ok(Token::Code { start, end: start + length });
    let blank = |length: usize| Ok(Token::Blank { start, end: start + length });
    let open = |what| TemplateError::Unterminated { what, line: line_of(sql, start) };
    match first {
        ';' => Ok(Token::Semicolon { at: start }),
        '\'' => code(quoted(rest, '\'', false).ok_or(open("literal"))?),
        '"' => code(quoted(rest, '"', false).ok_or(open("quoted identifier"))?),
        '-' if rest.starts_with("--") => blank(rest.find('\n').map_or(rest.len(), |newline| newline + 1)),
        '/' if rest.starts_with("/*") => blank(block_comment(rest).ok_or(open("comment"))?),
        '$' => match dollar_tag(rest) {
            Some(tag) => code(dollar_quoted(rest, tag).ok_or(open("dollar-quoted literal"))?),
            None => code(1),
        },
        ':' => colon(sql, start),
        _ if first.is_whitespace() => blank(rest.len() - rest.trim_start().len()),
        _ if is_name_start(first) => {
            let word = name_length(rest, true);
            let is_escape_literal = matches!(&rest[..word], "e" | "E") && rest[word..].starts_with('\'');
            if is_escape_literal {
                code(word + quoted(&rest[word..], '\'', true).ok_or(open("literal"))?)
            } else {
                code(word)
            }
        }
        _ => code(first.len_utf8()),
    }
}

/// `::` and `:=` are operators; `:name` is a placeholder; psql's `:'name'` and `:"name"` quote values into the text, which nothing here does.
fn colon(sql: &str, start: usize) -> Result<Token, TemplateError> {
    let after = &sql[start + 1..];
    let name = name_length(after, false);
    match after.chars().next() {
        Some(':' | '=') => Ok(Token::Code { start, end: start + 2 }),
        Some(quote @ ('\'' | '"')) if quotes_a_name(after, quote) => {
            Err(TemplateError::QuotedPlaceholder { quote, line: line_of(sql, start) })
        }
        _ if name > 0 => Ok(Token::Placeholder { start: start + 1, end: start + 1 + name }),
        _ => Ok(Token::Code { start, end: start + 1 }),
    }
}

/// Whether a quote follows that closes right after a name.
fn quotes_a_name(text: &str, quote: char) -> bool {
    let name = name_length(&text[1..], false);
    name > 0 && text[1 + name..].starts_with(quote)
}

/// Bytes up to and with the closing quote; a doubled quote is one character of the content.
fn quoted(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' && has_escapes {
            chars.next();
        } else if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// Comments nest, unlike in C.
fn block_comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `$$` or `$tag$`; not `$1`.
fn dollar_tag(text: &str) -> Option<&str> {
    let length = name_length(&text[1..], false);
    text[1 + length..].starts_with('$').then(|| &text[..length + 2])
}

fn dollar_quoted(text: &str, tag: &str) -> Option<usize> {
    text[tag.len()..].find(tag).map(|at| at + 2 * tag.len())
}

fn is_name_start(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

/// Bytes of a name at the beginning of the text. A `$` inside belongs to an identifier, so `a$b$` opens no quote; not to a placeholder.
fn name_length(text: &str, may_have_dollar: bool) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, first)) if is_name_start(first) => {}
        _ => return 0,
    }
    let goes_on = |char: char| char.is_alphanumeric() || char == '_' || (may_have_dollar && char == '$');
    chars.find(|(_, char)| !goes_on(*char)).map_or(text.len(), |(at, _)| at)
}

pub(super) fn line_of(sql: &str, at: usize) -> usize {
    sql[..at].matches('\n').count() + 1
}
