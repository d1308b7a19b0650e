//! Makes untrusted text safe to print on a terminal, in a log or in a report.

/// Escapes characters that would move the cursor, start a new line, change the direction of writing or stay invisible. Also doubles each
/// backslash, so that two different names never look the same. Not idempotent: escape a text once, where it is printed.
pub fn harmless(text: &str) -> String {
    escaped(text, |c| c == '\\' || !is_printable(c))
}

/// Escapes the same characters except backslashes, for text that is read as code or whose values are already quoted and escaped.
pub fn printable(text: &str) -> String {
    escaped(text, |c| !is_printable(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns false for control characters, line and paragraph separators, and characters with the Unicode property
/// Default_Ignorable_Code_Point. Some of the latter change the direction of writing.
pub fn is_printable(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    );
    !c.is_control() && !is_invisible
}

/// Sanitizes text that is stored as a single line of limited length: replaces every unprintable character with U+FFFD. Idempotent.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let safe = |c: char| if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER };
    text.chars().take(chars_max).map(safe).collect()
}
