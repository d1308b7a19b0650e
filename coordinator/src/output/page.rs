//! A page of text at most 80 columns wide, for a terminal as well as a file: fields, wrapped paragraphs, tables.
//! Every line goes through `Page::line`, which makes names from outside harmless and holds the width. Knows nothing of results.

use super::table::Table;

/// Columns of a report: what every terminal, mail and diff shows without wrapping. Counted in characters.
pub(crate) const WIDTH: usize = 80;
/// Columns of a field's label, the gap included.
const LABEL_WIDTH: usize = 23;
const SEPARATOR: &str = " · ";

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
        let line = harmless(line);
        self.text.push_str(shorten(line.trim_end(), WIDTH).as_str());
        self.text.push('\n');
    }

    /// The head of a section, set off by an empty line.
    pub(crate) fn section(&mut self, title: &str) {
        self.text.push('\n');
        self.line(title);
    }

    /// A label, and its parts joined by ` · `; a line breaks only between parts, a part too long for a line is shortened.
    pub(crate) fn field(&mut self, label: &str, parts: &[String]) {
        let width = WIDTH - LABEL_WIDTH;
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            let part = shorten(&harmless(part), width);
            match lines.last_mut() {
                Some(line) if chars(line) + chars(SEPARATOR) + chars(&part) <= width => {
                    line.push_str(SEPARATOR);
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
        for (i, line) in lines.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            self.line(&format!("{label:<LABEL_WIDTH$}{line}"));
        }
    }

    /// A label and words that wrap beside it.
    pub(crate) fn field_text(&mut self, label: &str, text: &str) {
        self.hanging(&format!("{label:<LABEL_WIDTH$}"), text, usize::MAX);
    }

    /// Words wrapped behind `lead`, later lines indented by the lead's width; more than `lines_max` lines end in `…`.
    pub(crate) fn hanging(&mut self, lead: &str, text: &str, lines_max: usize) {
        let indent = chars(lead);
        let lines = wrap(&harmless(text), WIDTH.saturating_sub(indent).max(1));
        let cut = lines.len() > lines_max;
        for (i, line) in lines.iter().take(lines_max).enumerate() {
            let lead = if i == 0 { lead } else { "" };
            let more = if cut && i + 1 == lines_max { "…" } else { "" };
            let line = shorten(&format!("{line}{more}"), WIDTH.saturating_sub(indent));
            self.line(&format!("{lead:<indent$}{line}"));
        }
    }

    pub(crate) fn table<const N: usize>(&mut self, table: &Table<N>) {
        for line in table.lines(WIDTH) {
            self.line(&line);
        }
    }
}

pub(crate) fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Control characters as escapes: a host's name or a server's message must not move the cursor, start a new line or turn
/// the direction of writing.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
        if c.is_control() || turns_direction || ends_line {
            harmless.extend(c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// At most `width` characters, the end replaced by `…`.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

/// At most `width` characters, the middle replaced by `…`: the names of a fleet differ at either end.
pub(crate) fn shorten_middle(text: &str, width: usize) -> String {
    let length = chars(text);
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = text.chars().take(kept.div_ceil(2));
    head.chain(std::iter::once('…')).chain(text.chars().skip(length - kept / 2)).collect()
}

/// At most `width` characters, the start replaced by `…`: the end of a path says more than its start.
pub(crate) fn shorten_path(path: &str, width: usize) -> String {
    let path = harmless(path);
    let length = chars(&path);
    if length <= width {
        return path;
    }
    let kept: String = path.chars().skip(length - (width - 1)).collect();
    format!("…{kept}")
}

/// Words in lines of at most `width` characters; a longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let needed = chars(word);
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
            if used == width {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().expect("never empty: it starts with a line").push(c);
            used += 1;
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
    }

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        let mut page = Page::default();
        page.line("a\u{1b}[2Jb\nc\td\u{202e}e");
        assert_eq!(page.finish(), "a\\u{1b}[2Jb\\nc\\td\\u{202e}e\n");
    }

    #[test]
    fn escapes_do_not_widen_a_line_beyond_the_page() {
        let mut page = Page::default();
        page.line(&"\n".repeat(79));
        page.field("label", &["\u{1b}".repeat(60)]);
        page.hanging("  - ", &"\u{1b}".repeat(90), 2);
        for line in page.finish().lines() {
            assert!(chars(line) <= WIDTH, "{line}");
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
