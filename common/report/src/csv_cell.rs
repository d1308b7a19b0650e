//! External text as a CSV cell. The csv crate does the quoting; this module prevents a spreadsheet from executing the text as a formula.

use std::borrow::Cow;

/// Spreadsheets interpret a cell that begins with one of these characters as a formula
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
const FORMULA_STARTS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Returns the text, with an apostrophe before it if a spreadsheet would execute it. Only for names and other text, never for numbers.
pub fn csv_cell(text: &str) -> Cow<'_, str> {
    match text.starts_with(FORMULA_STARTS) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_turned_into_text() {
        for text in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert_eq!(csv_cell(text), format!("'{text}"));
        }
        for text in ["", "host_1", "'=1", "a=b", "10-3", "ü", "日本"] {
            assert_eq!(csv_cell(text), text);
        }
    }
}
