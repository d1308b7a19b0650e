//! A text page of at most 80 columns, for a terminal or a file, with fields and wrapped paragraphs. Each method escapes external text
//! exactly once and limits every line to the page width. Independent of reports.

use muster_core::printable::{harmless, printable};
use unicode_width::UnicodeWidthChar;

/// Width of a report in columns. Every terminal, mail program and diff shows this many without wrapping.
pub const WIDTH: usize = 80;
/// Width of a field's label in columns, including the gap.
pub(super) const LABEL_WIDTH: usize = 23;
const SEPARATOR: &str = " · ";

#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn finish(self) -> String {
        self.text
    }

    /// Adds one line, truncated to the page width if necessary.
    pub fn line(&mut self, line: &str) {
        self.push(&harmless(line));
    }

    /// Adds an empty line, except at the top of the page.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Adds a label and its parts joined by ` · `. Lines break only between parts; a part that is too long for a line is shortened.
    pub fn field(&mut self, label: &str, parts: &[String]) {
        let width = WIDTH - LABEL_WIDTH;
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            let part = shorten(&harmless(part), width);
            match lines.last_mut() {
                Some(line) if columns(line) + columns(SEPARATOR) + columns(&part) <= width => {
                    line.push_str(SEPARATOR);
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
        for (i, line) in lines.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            self.push(&format!("{}{line}", pad_right(label, LABEL_WIDTH)));
        }
    }

    /// Adds a label and text that is wrapped beside it.
    pub fn field_text(&mut self, label: &str, text: &str) {
        self.hanging(&pad_right(label, LABEL_WIDTH), text, usize::MAX);
    }

    /// Adds text wrapped after `lead`, with later lines indented by the width of `lead`. After `lines_max` lines it is truncated with `…`.
    pub fn hanging(&mut self, lead: &str, text: &str, lines_max: usize) {
        self.wrapped(lead, &harmless(text), lines_max);
    }

    /// As [`hanging`](Self::hanging), without truncation and for code such as a plan: backslashes are not escaped.
    pub fn hanging_code(&mut self, lead: &str, text: &str) {
        self.wrapped(lead, &printable(text), usize::MAX);
    }

    fn wrapped(&mut self, lead: &str, text: &str, lines_max: usize) {
        let lead = harmless(lead);
        let indent = columns(&lead);
        let lines = wrap(text, WIDTH.saturating_sub(indent).max(1));
        let cut = lines.len() > lines_max;
        for (i, line) in lines.iter().take(lines_max).enumerate() {
            let lead = if i == 0 { lead.clone() } else { " ".repeat(indent) };
            let more = if cut && i + 1 == lines_max { "…" } else { "" };
            let line = shorten(&format!("{line}{more}"), WIDTH.saturating_sub(indent));
            self.push(&format!("{lead}{line}"));
        }
    }

    /// Adds a line that is already escaped.
    pub(super) fn push(&mut self, line: &str) {
        self.text.push_str(shorten(line.trim_end(), WIDTH).as_str());
        self.text.push('\n');
    }
}

/// The number of terminal columns of a text: two for an ideograph, none for a combining mark.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

pub fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Shortens a text to at most `width` columns. The end is replaced by `…`.
pub fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    format!("{}…", &text[..head_end(text, width.saturating_sub(1))])
}

/// Shortens a text to at most `width` columns. The middle is replaced by `…`, because names of machines differ at their ends.
pub fn shorten_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let available = width.saturating_sub(1);
    let head = &text[..head_end(text, available.div_ceil(2))];
    let tail = &text[tail_start(text, available / 2, columns_of)..];
    format!("{head}…{tail}")
}

/// Shortens a path to at most `width` columns as shown. The start is replaced by `…`, because the end of a path is more informative.
pub fn shorten_path(path: &str, width: usize) -> String {
    if columns(&harmless(path)) <= width {
        return path.to_owned();
    }
    let shown = |c: char| columns(&harmless(c.encode_utf8(&mut [0; 4])));
    format!("…{}", &path[tail_start(path, width.saturating_sub(1), shown)..])
}

/// The position after the longest prefix that takes at most this many columns.
fn head_end(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += columns_of(c);
        if used > width {
            return at;
        }
    }
    text.len()
}

/// The start of the longest suffix that takes at most this many columns.
fn tail_start(text: &str, width: usize, columns_of: impl Fn(char) -> usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += columns_of(c);
        if used > width {
            return at + c.len_utf8();
        }
    }
    0
}

/// Wraps words into lines of at most `width` columns. A longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let needed = columns(word);
        if used > 0 && used + 1 + needed <= width {
            used += 1 + needed;
            let line = lines.last_mut().expect("never empty: it starts with a line");
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            if used > 0 && used + columns_of(c) > width {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().expect("never empty: it starts with a line").push(c);
            used += columns_of(c);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wrap(text: &str, width: usize, expected: &[&str]) {
        assert_eq!(wrap(text, width), expected, "{text:?}");
    }

    #[test]
    fn words_are_wrapped_and_long_words_are_broken() {
        check_wrap("", 5, &[""]);
        check_wrap("a bc def", 4, &["a bc", "def"]);
        check_wrap("ab abcdefghij k", 4, &["ab", "abcd", "efgh", "ij k"]);
        check_wrap("µµµµ µµ", 4, &["µµµµ", "µµ"]);
        check_wrap("東京都 ab", 4, &["東京", "都", "ab"]);
    }

    #[test]
    fn external_text_cannot_move_the_cursor() {
        let mut page = Page::default();
        page.line("a\u{1b}[2Jb\nc\td\u{202e}e");
        assert_eq!(page.finish(), "a\\u{1b}[2Jb\\nc\\td\\u{202e}e\n");
    }

    #[test]
    fn different_names_are_shown_differently() {
        let names = [
            "nl\nhost",
            "nl\\nhost",
            "nl\\\nhost",
            "nlhost",
            "nl\u{200b}host",
            "nl\u{fe0f}host",
            "nl\u{ad}host",
        ];
        let shown: std::collections::BTreeSet<String> = names.map(harmless).into();
        assert_eq!(shown.len(), names.len(), "{shown:#?}");
        assert_eq!(harmless("C:\\temp\n"), "C:\\\\temp\\n");
        assert_eq!(printable("'\\d+'\n"), "'\\d+'\\n");
    }

    #[test]
    fn width_is_measured_in_terminal_columns() {
        assert_eq!(["abc", "東京", "e\u{301}", "…"].map(columns), [3, 4, 1, 1]);
        assert_eq!(shorten("東京都", 4), "東…");
        assert_eq!(shorten_middle("東京サーバー一号機", 9), "東京…号機");
        assert_eq!(shorten_path("/data/東京サーバー.csv", 9), "…バー.csv");
        assert_eq!(pad_right("東京", 6), "東京  ");
        assert_eq!(pad_left("東京", 6), "  東京");
    }

    #[test]
    fn escaped_text_is_limited_to_the_page_width() {
        let mut page = Page::default();
        page.line(&"\n".repeat(79));
        page.field("label", &["\u{1b}".repeat(60)]);
        page.hanging("  - ", &"\u{1b}".repeat(90), 2);
        for line in page.finish().lines() {
            assert!(columns(line) <= WIDTH, "{line}");
        }
    }

    #[test]
    fn a_field_is_wrapped_between_its_parts() {
        let mut page = Page::default();
        page.field("label", &["a".repeat(30), "b".repeat(30), "c".to_owned()]);
        let expected = format!("{:<23}{}\n{:<23}{} · c\n", "label", "a".repeat(30), "", "b".repeat(30));
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn a_long_text_is_truncated_after_the_last_line() {
        let mut page = Page::default();
        page.hanging("  - ", &"word ".repeat(100), 2);
        let text = page.finish();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("word…\n"), "{text}");
    }

    #[test]
    fn a_path_is_shortened_at_its_start() {
        assert_eq!(shorten_path("/a/long/way/file.csv", 10), "…/file.csv");
        assert_eq!(shorten_path("file.csv", 10), "file.csv");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }

    #[test]
    fn a_name_is_shortened_in_the_middle() {
        assert_eq!(shorten_middle("muster-agent-7c9f6d-x2x4q/1", 14), "muster-…2x4q/1");
        assert_eq!(shorten_middle("abcdef", 1), "…");
        assert_eq!(shorten_middle("abcdef", 6), "abcdef");
    }
}
