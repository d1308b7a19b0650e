//! Lays out a table as aligned text columns that fit into a given width. If the table is too wide, intervals are reduced first, then
//! headings are broken into two lines, then the widest column of names is shortened; columns of numbers are never shortened. comfy-table is
//! not used, because these tables have no borders, no colours and only these rules for narrowing.

use muster_core::printable::harmless;

use super::page::{columns, pad_left, pad_right, shorten_middle};
use crate::report::table::{Cell, Column, ColumnKind, Table};
use crate::units::count;

const GAP: usize = 2;
/// Minimum width of a column of names.
const NAME_WIDTH_MIN: usize = 4;

/// What is shown beside the numbers of a table with columns of intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Intervals, and the number of queries that a figure needs.
    Full,
    /// As `Full`, but the number of queries only in the first column of intervals, because it is the same in the others.
    NeedsOnce,
    /// As `NeedsOnce`, without the word "queries".
    NeedsOnceShort,
    FirstIntervals,
    Nothing,
}

impl Beside {
    /// All variants, the widest first.
    const ALL: [Self; 5] =
        [Self::Full, Self::NeedsOnce, Self::NeedsOnceShort, Self::FirstIntervals, Self::Nothing];
}

/// The heading and the rows, indented by two; at most `width` columns wide if headings and names can be shortened enough.
pub(super) fn lines(table: &Table, width: usize) -> Vec<String> {
    let fitting =
        Beside::ALL.map(|beside| Layout::of(table, beside)).into_iter().find(|layout| layout.fits(width));
    fitting.unwrap_or_else(|| Layout::of(table, Beside::Nothing)).lines(width)
}

/// The texts of a table. A column without a heading and without text is omitted.
struct Layout {
    columns: Vec<Column>,
    /// Escaped.
    rows: Vec<Vec<String>>,
}

impl Layout {
    fn of(table: &Table, beside: Beside) -> Self {
        let is_interval = |column: &Column| column.kind == ColumnKind::Interval;
        let first = table.columns.iter().position(is_interval);
        let is_shown = |at: usize| match beside {
            _ if !is_interval(&table.columns[at]) => true,
            Beside::Nothing => false,
            Beside::FirstIntervals => Some(at) == first,
            Beside::Full | Beside::NeedsOnce | Beside::NeedsOnceShort => true,
        };
        let shown: Vec<usize> = (0..table.columns.len()).filter(|at| is_shown(*at)).collect();
        let text = |at: usize, cell: &Cell| match (cell, beside) {
            (Cell::Needs(_), Beside::NeedsOnce | Beside::NeedsOnceShort) if Some(at) != first => {
                String::new()
            }
            (Cell::Needs(number), Beside::NeedsOnceShort) => format!("(needs {})", count(*number)),
            _ => text(cell),
        };
        let row = |row: &Vec<Cell>| shown.iter().map(|at| text(*at, &row[*at])).collect();
        Self {
            columns: shown.iter().map(|at| table.columns[*at]).collect(),
            rows: table.rows.iter().map(row).collect(),
        }
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let whole: Vec<_> = self.columns.iter().map(|column| vec![column.heading]).collect();
        let head = if total(&self.widths(&whole)) <= width { whole } else { self.broken_headings() };
        let widths = self.narrowed(self.widths(&head), width);
        // A table without headings has only rows.
        let is_headed = self.columns.iter().any(|column| !column.heading.is_empty());
        let height = head.iter().map(Vec::len).max().filter(|_| is_headed).unwrap_or(0);
        let head = (0..height).map(|line| {
            // Headings are aligned at the bottom, directly above the cells.
            let word = |words: &Vec<&str>| {
                let at = (line + words.len()).checked_sub(height);
                at.map_or(String::new(), |at| words[at].to_owned())
            };
            head.iter().map(word).collect()
        });
        head.chain(self.rows.iter().cloned()).map(|cells: Vec<String>| self.line(&cells, &widths)).collect()
    }

    /// Returns true if the table fits without shortening names; headings may be broken into two lines.
    fn fits(&self, width: usize) -> bool {
        total(&self.widths(&self.broken_headings())) <= width
    }

    fn broken_headings(&self) -> Vec<Vec<&'static str>> {
        let broken = |heading: &'static str| {
            heading.rsplit_once(' ').map_or(vec![heading], |(first, last)| vec![first, last])
        };
        self.columns.iter().map(|column| broken(column.heading)).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            if *width == 0 {
                continue;
            }
            let cell = shorten_middle(cell, *width);
            line.push_str(&" ".repeat(GAP));
            line.push_str(&match column.kind {
                ColumnKind::Number => pad_left(&cell, *width),
                ColumnKind::Name | ColumnKind::Label | ColumnKind::Interval => pad_right(&cell, *width),
            });
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The width of each column without shortening.
    fn widths(&self, head: &[Vec<&'static str>]) -> Vec<usize> {
        let width = |(at, headings): (usize, &Vec<&'static str>)| {
            let headings = headings.iter().map(|heading| columns(heading));
            let cells = self.rows.iter().map(|row| columns(&row[at]));
            headings.chain(cells).max().unwrap_or(0)
        };
        head.iter().enumerate().map(width).collect()
    }

    fn narrowed(&self, mut widths: Vec<usize>, page_width: usize) -> Vec<usize> {
        while total(&widths) > page_width {
            let names =
                widths.iter_mut().zip(&self.columns).filter(|(_, column)| column.kind == ColumnKind::Name);
            match names.map(|(width, _)| width).max() {
                Some(widest) if *widest > NAME_WIDTH_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// One-letter units are padded, so that the numbers of a column are aligned.
fn text(cell: &Cell) -> String {
    let text = harmless(&cell.to_string());
    if matches!(cell, Cell::Number(..)) && text.ends_with(" s") { text + " " } else { text }
}

/// The width of a line, including gaps.
fn total(widths: &[usize]) -> usize {
    widths.iter().filter(|width| **width > 0).map(|width| GAP + width).sum()
}

#[cfg(test)]
mod tests {
    use ColumnKind::{Name, Number};

    use crate::result::Latency;

    use super::*;
    use crate::fixtures;
    use crate::report::latency::{Series, table};
    use crate::text::page::WIDTH;

    /// A table of these columns, in which each cell is text.
    fn of(columns: &[(&'static str, ColumnKind)], rows: &[&[&str]]) -> Table {
        let columns = columns.iter().map(|(heading, kind)| Column { heading, kind: *kind }).collect();
        let cells = |row: &&[&str]| row.iter().map(|cell| Cell::from(*cell)).collect();
        Table { columns, rows: rows.iter().map(cells).collect() }
    }

    fn named(names: &[&str]) -> Table {
        let rows: Vec<[&str; 2]> = names.iter().map(|name| [*name, "1,234"]).collect();
        let rows: Vec<&[&str]> = rows.iter().map(<[&str; 2]>::as_slice).collect();
        of(&[("name", Name), ("rows", Number)], &rows)
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let mut table = named(&["a", "bcdef"]);
        table.rows.push(vec!["x".into(), "".into()]);
        assert_eq!(lines(&table, 80), ["  name    rows", "  a      1,234", "  bcdef  1,234", "  x"]);
    }

    #[test]
    fn names_are_shortened_and_numbers_are_not() {
        let lines = lines(&named(&["short", "a-very-long-name-indeed"]), 20);
        assert_eq!(lines[2], "  a-ver…ndeed  1,234");
        assert!(lines.iter().all(|line| columns(line) <= 20), "{lines:#?}");
    }

    #[test]
    fn an_empty_column_takes_no_space() {
        let table = of(&[("a", Name), ("", Number), ("c", Number)], &[&["x", "", "1"]]);
        assert_eq!(lines(&table, 80), ["  a  c", "  x  1"]);
        let table = of(&[("", Name), ("", Number)], &[&["x", "1"]]);
        assert_eq!(lines(&table, 80), ["  x  1"], "without headings there is no heading line");
    }

    #[test]
    fn the_widest_name_is_shortened_first() {
        let table = of(&[("a", Name), ("b", Name)], &[&["kept whole", &"b".repeat(30)]]);
        assert_eq!(lines(&table, 30)[1], format!("  kept whole  {}…{}", "b".repeat(8), "b".repeat(7)));
    }

    #[test]
    fn headings_break_before_names_are_shortened() {
        let columns = [("query", Name), ("server mean", Number), ("p", Number)];
        let table = of(&columns, &[&["default", "3.00 ms", "1"]]);
        assert_eq!(lines(&table, 80), ["  query    server mean  p", "  default      3.00 ms  1"]);
        assert_eq!(
            lines(&table, 24),
            ["            server", "  query       mean  p", "  default  3.00 ms  1"]
        );
    }

    #[test]
    fn columns_are_aligned_in_every_script() {
        let mut table = named(&["short", "東京サーバー一号機", "nl\nhost", "nl\\nhost"]);
        table.rows.push(vec!["e\u{301}te\u{301}".into(), "1".into()]);
        let all = lines(&table, 80);
        assert!(all.iter().all(|line| columns(line) == 27), "{all:#?}");
        assert_eq!(lines(&table, 20)[2], "  東京…号機    1,234");
    }

    #[test]
    fn numbers_of_a_column_are_aligned_despite_units_of_different_length() {
        let cell = |ms| text(&Cell::Number(Some(ms), crate::report::table::Unit::Milliseconds));
        assert_eq!([1_040.0, 3.21].map(cell), ["1.04 s ", "3.21 ms"]);
    }

    #[test]
    fn labels_and_figures_of_four_series_are_never_shortened() {
        let wide = |latency: &Latency| {
            let mut latency = latency.clone();
            let ends = Some([0.0999, 1_040.0]);
            latency.intervals.median_ci = ends;
            latency.intervals.p90_ci = ends;
            latency
        };
        let open = fixtures::open_loop();
        let latency = wide(open.service_time_ms.as_ref().unwrap());
        let few = wide(fixtures::good().service_time_ms.as_ref().unwrap());
        for (latency, needs) in [(&latency, ""), (&few, "4,603")] {
            let series = [
                Series { title: "service", latency, has_intervals: true },
                Series { title: "response", latency, has_intervals: true },
                Series { title: "queueing", latency, has_intervals: false },
                Series { title: "generator delay", latency, has_intervals: false },
            ];
            for count in 1..=series.len() {
                let lines = lines(&table(&series[..count]), WIDTH);
                let text = lines.join("\n");
                assert!(lines.iter().all(|line| columns(line) <= WIDTH), "{text}");
                assert!(
                    !text.contains('…') && text.contains("  median ") && text.contains("  p99.9 "),
                    "{text}"
                );
                assert!(text.contains(needs), "{text}");
            }
        }
    }
}
