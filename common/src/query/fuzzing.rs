//! What holds for every statement: for the fuzzer, and for the tests that replay what it found.

use super::{Template, TemplateError};
use crate::limits::PARAMETERS_MAX;

pub fn check(data: &[u8]) {
    let Ok(typed) = std::str::from_utf8(data) else { return };
    let template = match Template::parse(typed) {
        Ok(template) => template,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let columns = template.columns();
    assert!(columns.len() <= PARAMETERS_MAX && columns.iter().all(|column| !column.is_empty()));
    assert!(columns.iter().enumerate().all(|(at, column)| !columns[..at].contains(column)), "each once");
    check_positions(&template, typed);
    if template.sql() != without_mark(template.sql()) {
        // There were two byte order marks, and the second one, which is text, would be taken off now.
        return;
    }
    // What the server gets holds no placeholder of ours any more.
    match Template::parse(template.sql()) {
        Ok(again) => {
            assert!(columns.is_empty() && again.columns().is_empty());
            assert_eq!(again.sql(), template.sql());
        }
        Err(TemplateError::NumberedParameter { .. }) => assert!(!columns.is_empty()),
        Err(error) => panic!("what was rewritten is no statement: {error}"),
    }
}

/// Positions only grow, and stay within what was typed; what stands there is what was typed, or a placeholder's colon.
fn check_positions(template: &Template, typed: &str) {
    let typed: Vec<char> = without_mark(typed).chars().collect();
    let mut before = 1;
    for (at, sent) in template.sql().chars().enumerate() {
        let position = template.original_position(at + 1);
        assert!((before..=typed.len()).contains(&position), "character {at} leads to {position}");
        let original = typed[position - 1];
        assert!(original == sent || original == ':', "character {at}, '{sent}', leads to '{original}'");
        before = position;
    }
    // A server may point behind the end.
    template.original_position(typed.len() * 2);
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
