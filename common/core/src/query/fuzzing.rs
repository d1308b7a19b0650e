//! Invariants of every statement, for the fuzzer and for the tests that replay its findings.

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
        // The text had two byte order marks. The second one is text, but parsing again would remove it.
        return;
    }
    // The rewritten statement contains no `:name` placeholder.
    match Template::parse(template.sql()) {
        Ok(again) => {
            assert!(columns.is_empty() && again.columns().is_empty());
            assert_eq!(again.sql(), template.sql());
        }
        Err(TemplateError::NumberedParameter { .. }) => assert!(!columns.is_empty()),
        Err(error) => panic!("the rewritten statement does not parse: {error}"),
    }
}

/// Positions increase and stay within the text as typed; each maps to the same character, or to a placeholder's colon.
fn check_positions(template: &Template, typed: &str) {
    let typed: Vec<char> = without_mark(typed).chars().collect();
    let mut previous = 1;
    for (at, sent) in template.sql().chars().enumerate() {
        let position = template.original_position(at + 1);
        assert!((previous..=typed.len()).contains(&position), "character {at} maps to {position}");
        let original = typed[position - 1];
        assert!(original == sent || original == ':', "character {at}, '{sent}', maps to '{original}'");
        previous = position;
    }
    // A server may report a position after the end.
    template.original_position(typed.len() * 2);
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
