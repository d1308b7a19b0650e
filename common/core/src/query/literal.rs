//! SQL literals for the simple protocol, which has no parameters. Quoting ensures that a value is never parsed as SQL.

use super::Placeholder;

/// Quotes a string literal so that it has the same meaning with any setting of `standard_conforming_strings`.
pub fn quote(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        // The leading space separates the E from a preceding identifier.
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// Returns the statement with the row's values in place of its placeholders, which must be in text order.
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
    fn values_are_never_parsed_as_sql() {
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
