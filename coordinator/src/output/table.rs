//! Tables of aligned text columns that are narrowed to a given width. If a table is too wide, titles are broken into two lines first, then
//! the widest column of names is shortened; columns of numbers are never shortened. comfy-table is not used, because these tables have no
//! borders, no colours and only this rule for narrowing.

use muster_common::printable::harmless;

use super::page::{columns, pad_left, pad_right, shorten_middle};

const GAP: usize = 2;
/// Minimum width of a column of names.
const NAME_WIDTH_MIN: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names, which are shortened if the page is too narrow.
    Left,
    /// Text that must not be shortened, such as labels of figures and ids that users type.
    LeftWhole,
    /// Numbers.
    Right,
}

/// A table of `N` columns. A row with a missing cell does not compile. A column without a title and without text is omitted.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| harmless(&cell)));
    }

    /// The header and the rows, indented by two; at most `width` columns wide if titles and names can be shortened enough.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let whole = self.columns.map(|(title, _)| vec![title]);
        let head = if total(&self.widths(&whole)) <= width { whole } else { self.broken_titles() };
        let widths = self.narrowed(self.widths(&head), width);
        let height = head.iter().map(Vec::len).max().unwrap_or(1);
        let head = (0..height).map(|line| {
            // Titles are aligned at the bottom, directly above the cells.
            let words =
                |title: &Vec<&'static str>| (line + title.len()).checked_sub(height).map(|at| title[at]);
            std::array::from_fn(|column| words(&head[column]).unwrap_or_default().to_owned())
        });
        head.chain(self.rows.iter().cloned()).map(|cells| self.line(&cells, &widths)).collect()
    }

    /// Returns true if the table fits without shortening names; titles may be broken into two lines.
    pub(crate) fn fits(&self, width: usize) -> bool {
        total(&self.widths(&self.broken_titles())) <= width
    }

    fn broken_titles(&self) -> [Vec<&'static str>; N] {
        self.columns
            .map(|(title, _)| title.rsplit_once(' ').map_or(vec![title], |(first, last)| vec![first, last]))
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.iter().zip(self.columns).zip(*widths) {
            if width == 0 {
                continue;
            }
            let cell = shorten_middle(cell, width);
            line.push_str(&" ".repeat(GAP));
            line.push_str(&match align {
                Align::Left | Align::LeftWhole => pad_right(&cell, width),
                Align::Right => pad_left(&cell, width),
            });
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The width of each column without shortening.
    fn widths(&self, head: &[Vec<&'static str>; N]) -> [usize; N] {
        std::array::from_fn(|column| {
            let titles = head[column].iter().map(|title| columns(title));
            let cells = self.rows.iter().map(|row| columns(&row[column]));
            titles.chain(cells).max().unwrap_or(0)
        })
    }

    fn narrowed(&self, mut widths: [usize; N], page_width: usize) -> [usize; N] {
        while total(&widths) > page_width {
            let names = widths.iter_mut().zip(self.columns).filter(|(_, (_, align))| *align == Align::Left);
            match names.map(|(width, _)| width).max() {
                Some(widest) if *widest > NAME_WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// The width of a line, including gaps.
fn total(widths: &[usize]) -> usize {
    widths.iter().filter(|width| **width > 0).map(|width| GAP + width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> Table<2> {
        let mut table = Table::new([("name", Align::Left), ("rows", Align::Right)]);
        for name in names {
            table.row([(*name).to_owned(), "1,234".to_owned()]);
        }
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let mut table = table(&["a", "bcdef"]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.lines(80), ["  name    rows", "  a      1,234", "  bcdef  1,234", "  x"]);
    }

    #[test]
    fn names_are_shortened_and_numbers_are_not() {
        let lines = table(&["short", "a-very-long-name-indeed"]).lines(20);
        assert_eq!(lines[2], "  a-ver…ndeed  1,234");
        assert!(lines.iter().all(|line| columns(line) <= 20), "{lines:#?}");
    }

    #[test]
    fn an_empty_column_takes_no_space() {
        let mut table = Table::new([("a", Align::Left), ("", Align::Right), ("c", Align::Right)]);
        table.row(["x".to_owned(), String::new(), "1".to_owned()]);
        assert_eq!(table.lines(80), ["  a  c", "  x  1"]);
    }

    #[test]
    fn the_widest_name_is_shortened_first() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.row(["kept whole".to_owned(), "b".repeat(30)]);
        assert_eq!(table.lines(30)[1], format!("  kept whole  {}…{}", "b".repeat(8), "b".repeat(7)));
    }

    #[test]
    fn titles_break_before_names_are_shortened() {
        let mut table =
            Table::new([("query", Align::Left), ("server mean", Align::Right), ("p", Align::Right)]);
        table.row(["default".to_owned(), "3.00 ms".to_owned(), "1".to_owned()]);
        assert_eq!(table.lines(80), ["  query    server mean  p", "  default      3.00 ms  1"]);
        assert_eq!(table.lines(24), ["            server", "  query       mean  p", "  default  3.00 ms  1"]);
    }

    #[test]
    fn columns_are_aligned_in_every_script() {
        let mut table = table(&["short", "東京サーバー一号機", "nl\nhost", "nl\\nhost"]);
        table.row(["e\u{301}te\u{301}".to_owned(), "1".to_owned()]);
        let lines = table.lines(80);
        assert!(lines.iter().all(|line| columns(line) == 27), "{lines:#?}");
        assert_eq!(table.lines(20)[2], "  東京…号機    1,234");
    }
}
