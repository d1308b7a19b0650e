//! The notation `name = value`.

use super::parameters::{ConninfoError, Parameters, insert, reject_separator};

/// Parses `name = value` or `name='quoted \' value'`, separated by blanks.
pub(super) fn parse(text: &str) -> Result<Parameters, ConninfoError> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    let mut word = 0;
    while !rest.is_empty() {
        word += 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start().strip_prefix('=').ok_or(ConninfoError::NoEquals(word))?;
        let written = after.trim_start();
        let (value, after) = take_value(written).ok_or(ConninfoError::Quote(word))?;
        let place = "the connection string";
        if !written.starts_with('\'') {
            reject_separator(name, &value, place)?;
        }
        insert(&mut parameters, name, value, place)?;
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Returns a value and the text after it. `None` when a quote is not closed.
fn take_value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if !quoted && blank.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}
