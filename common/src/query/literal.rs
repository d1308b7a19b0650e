//! Values as literals, for the simple protocol, which knows no parameters. Quoted so that a value stays a value whatever it holds.

use super::Placeholder;

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub fn quote(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        // A blank first: behind a name, the E would be the end of it.
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The statement with the row's values in place of its placeholders, which come in the order of the text and have a value each.
pub fn with_literals(sql: &str, placeholders: &[Placeholder], values: &[Option<&str>]) -> String {
    let mut text = String::with_capacity(sql.len() + 32 * placeholders.len());
    let mut copied = 0;
    for placeholder in placeholders {
        text.push_str(&sql[copied..placeholder.start]);
        match values[placeholder.parameter] {
            Some(value) => text.push_str(&quote(value)),
            None => text.push_str("NULL"),
        }
        copied = placeholder.end;
    }
    text.push_str(&sql[copied..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Template;

    #[test]
    fn values_stay_values_whatever_they_hold() {
        let template = Template::parse("SELECT :a::text, 'not :b', lo:b, :a -- :c").unwrap();
        let text = |a, b| with_literals(template.sql(), template.placeholders(), &[a, b]);
        assert_eq!(text(Some("x"), Some("y")), "SELECT 'x'::text, 'not :b', lo 'y', 'x' -- :c");
        let injected = "'''; DROP TABLE t; --'";
        assert_eq!(
            text(Some("'; DROP TABLE t; --"), None),
            format!("SELECT {injected}::text, 'not :b', lo NULL, {injected} -- :c")
        );
        let escaped = r" E'\\'''";
        assert_eq!(
            text(Some(r"\'"), Some("$1")),
            format!("SELECT {escaped}::text, 'not :b', lo '$1', {escaped} -- :c")
        );
    }
}
