//! A page of text at most 80 columns wide, for a terminal as well as a file: fields, wrapped paragraphs, tables.
//! Text from outside is escaped once, by the method that takes it, and every line is held to the width. Knows nothing of results.

use muster_common::printable::{harmless, printable};
use unicode_width::UnicodeWidthChar;

use super::table::Table;

/// Columns of a report: every terminal, mail program and diff shows this many without wrapping.
pub(crate) const WIDTH: usize = 80;
/// Columns of a field's label, the gap included.
const LABEL_WIDTH: usize = 23;
const SEPARATOR: &str = " · ";
/// The gap between the name of a section and its text.
const TITLE_GAP: &str = "   ";

#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// One line; cut at the page's width as the last resort.
    pub(crate) fn line(&mut self, line: &str) {
        self.push(&harmless(line));
    }

    /// The start of a section, after an empty line. Its text wraps beside its name.
    pub(crate) fn section(&mut self, title: &str) {
        self.text.push('\n');
        match title.split_once(TITLE_GAP) {
            Some((name, said)) => self.hanging(&format!("{name}{TITLE_GAP}"), said, usize::MAX),
            None => self.hanging("", title, usize::MAX),
        }
    }

    /// A label, and its parts joined by ` · `; a line breaks only between parts, a part too long for a line is shortened.
    pub(crate) fn field(&mut self, label: &str, parts: &[String]) {
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

    /// A label and words that wrap beside it.
    pub(crate) fn field_text(&mut self, label: &str, text: &str) {
        self.hanging(&pad_right(label, LABEL_WIDTH), text, usize::MAX);
    }

    /// Words wrapped behind `lead`, later lines indented by the lead's width; more than `lines_max` lines end in `…`.
    pub(crate) fn hanging(&mut self, lead: &str, text: &str, lines_max: usize) {
        self.wrapped(lead, &harmless(text), lines_max);
    }

    /// The same for text that is read as code, such as a plan: its backslashes stay as they are.
    pub(crate) fn hanging_code(&mut self, lead: &str, text: &str) {
        self.wrapped(lead, &printable(text), usize::MAX);
    }

    pub(crate) fn table<const N: usize>(&mut self, table: &Table<N>) {
        for line in table.lines(WIDTH) {
            self.push(&line);
        }
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

    /// A line that is already safe to show.
    fn push(&mut self, line: &str) {
        self.text.push_str(shorten(line.trim_end(), WIDTH).as_str());
        self.text.push('\n');
    }
}

/// The number of terminal columns that a text takes: two for each ideograph, none for a combining mark.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

pub(crate) fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

pub(crate) fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Shortens a text to at most `width` columns. The end is replaced by `…`.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    format!("{}…", &text[..head_end(text, width.saturating_sub(1))])
}

/// Shortens a text to at most `width` columns. The middle is replaced by `…`, because the names of a fleet differ at either end.
pub(crate) fn shorten_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = &text[..head_end(text, kept.div_ceil(2))];
    let tail = &text[tail_start(text, kept / 2, columns_of)..];
    format!("{head}…{tail}")
}

/// Shortens a path to at most `width` columns as shown. The start is replaced by `…`, because the end of a path says more.
pub(crate) fn shorten_path(path: &str, width: usize) -> String {
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
    fn words_wrap_and_long_words_break() {
        check_wrap("", 5, &[""]);
        check_wrap("a bc def", 4, &["a bc", "def"]);
        check_wrap("ab abcdefghij k", 4, &["ab", "abcd", "efgh", "ij k"]);
        check_wrap("µµµµ µµ", 4, &["µµµµ", "µµ"]);
        check_wrap("東京都 ab", 4, &["東京", "都", "ab"]);
    }

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        let mut page = Page::default();
        page.line("a\u{1b}[2Jb\nc\td\u{202e}e");
        assert_eq!(page.finish(), "a\\u{1b}[2Jb\\nc\\td\\u{202e}e\n");
    }

    #[test]
    fn names_that_differ_look_different() {
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
    fn text_is_escaped_once() {
        let mut page = Page::default();
        page.line("a\\b");
        page.section("a\\b   c\\d");
        page.field("label", &["a\\b".to_owned()]);
        page.field_text("label", "a\\b");
        let mut table = Table::new([("", crate::output::table::Align::Left)]);
        table.row(["a\\b".to_owned()]);
        page.table(&table);
        let text = page.finish();
        assert_eq!(text.matches('\\').count(), 12, "{text}");
    }

    #[test]
    fn a_title_is_not_cut() {
        let mut page = Page::default();
        page.section(&format!("VERSUS   {}", "word ".repeat(20)));
        let expected = format!("\nVERSUS   {}\n         {}\n", ["word"; 14].join(" "), ["word"; 6].join(" "));
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!(["abc", "東京", "e\u{301}", "…"].map(columns), [3, 4, 1, 1]);
        assert_eq!(shorten("東京都", 4), "東…");
        assert_eq!(shorten_middle("東京サーバー一号機", 9), "東京…号機");
        assert_eq!(shorten_path("/data/東京サーバー.csv", 9), "…バー.csv");
        assert_eq!(pad_right("東京", 6), "東京  ");
        assert_eq!(pad_left("東京", 6), "  東京");
    }

    #[test]
    fn escapes_do_not_widen_a_line_beyond_the_page() {
        let mut page = Page::default();
        page.line(&"\n".repeat(79));
        page.field("label", &["\u{1b}".repeat(60)]);
        page.hanging("  - ", &"\u{1b}".repeat(90), 2);
        for line in page.finish().lines() {
            assert!(columns(line) <= WIDTH, "{line}");
        }
    }

    #[test]
    fn a_field_breaks_between_its_parts() {
        let mut page = Page::default();
        page.field("label", &["a".repeat(30), "b".repeat(30), "c".to_owned()]);
        let expected = format!("{:<23}{}\n{:<23}{} · c\n", "label", "a".repeat(30), "", "b".repeat(30));
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn a_long_text_is_cut_after_its_last_line() {
        let mut page = Page::default();
        page.hanging("  - ", &"word ".repeat(100), 2);
        let text = page.finish();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("word…\n"), "{text}");
    }

    #[test]
    fn a_path_keeps_its_end() {
        assert_eq!(shorten_path("/a/long/way/file.csv", 10), "…/file.csv");
        assert_eq!(shorten_path("file.csv", 10), "file.csv");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }

    #[test]
    fn a_name_keeps_both_its_ends() {
        assert_eq!(shorten_middle("muster-agent-7c9f6d-x2x4q/1", 14), "muster-…2x4q/1");
        assert_eq!(shorten_middle("abcdef", 1), "…");
        assert_eq!(shorten_middle("abcdef", 6), "abcdef");
    }
}
