//! Columns of text, aligned, narrowed to a width. Not comfy-table: with no borders, no colours and one rule for narrowing
//! (the widest column of names gives way, a column of numbers never) the whole of it is shorter than the settings would be.

use super::page::{chars, harmless, shorten_middle};

const GAP: usize = 2;
/// A column of names is not narrowed below this.
const NAME_WIDTH_MIN: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names: they give way where the page is too narrow.
    Left,
    /// Names that say nothing when shortened, such as those to be typed.
    LeftWhole,
    /// Numbers.
    Right,
}

/// A table of `N` columns, so that a row with a cell missing does not compile. A column without title and text is left out.
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

    /// The head and the rows, indented by two; at most `width` characters where the names can give way that far.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let widths = self.widths(width);
        let head = self.columns.map(|(title, _)| title.to_owned());
        std::iter::once(&head).chain(&self.rows).map(|cells| self.line(cells, &widths)).collect()
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.iter().zip(self.columns).zip(*widths) {
            if width == 0 {
                continue;
            }
            let cell = shorten_middle(cell, width);
            line.push_str(&" ".repeat(GAP));
            match align {
                Align::Left | Align::LeftWhole => line.push_str(&format!("{cell:<width$}")),
                Align::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn widths(&self, page_width: usize) -> [usize; N] {
        let mut widths = self.columns.map(|(title, _)| chars(title));
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(chars(cell));
            }
        }
        let gaps = GAP * widths.iter().filter(|width| **width > 0).count();
        while widths.iter().sum::<usize>() + gaps > page_width {
            let names = widths.iter_mut().zip(self.columns).filter(|(_, (_, align))| *align == Align::Left);
            match names.map(|(width, _)| width).max() {
                Some(widest) if *widest > NAME_WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
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
    fn columns_are_aligned_and_end_without_spaces() {
        let mut table = table(&["a", "bcdef"]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.lines(80), ["  name    rows", "  a      1,234", "  bcdef  1,234", "  x"]);
    }

    #[test]
    fn names_give_way_and_numbers_do_not() {
        let lines = table(&["short", "a-very-long-name-indeed"]).lines(20);
        assert_eq!(lines[2], "  a-ver…ndeed  1,234");
        assert!(lines.iter().all(|line| chars(line) <= 20), "{lines:#?}");
    }

    #[test]
    fn a_column_with_nothing_in_it_takes_no_room() {
        let mut table = Table::new([("a", Align::Left), ("", Align::Right), ("c", Align::Right)]);
        table.row(["x".to_owned(), String::new(), "1".to_owned()]);
        assert_eq!(table.lines(80), ["  a  c", "  x  1"]);
    }

    #[test]
    fn the_widest_name_gives_way_first() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.row(["kept whole".to_owned(), "b".repeat(30)]);
        assert_eq!(table.lines(30)[1], format!("  kept whole  {}…{}", "b".repeat(8), "b".repeat(7)));
    }
}
