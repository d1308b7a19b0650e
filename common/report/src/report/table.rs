//! Tables of typed cells.

use std::fmt;

use muster_stats::latency::Latency;
use muster_stats::latency::figure::Figure;

use crate::units::{
    NONE, count, counted, duration_or_none, duration_range, figure, percent, percent_range, share, share_down,
};

/// Every row has a cell for each column.
#[derive(Debug)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub heading: &'static str,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// External names, which may be shortened.
    Name,
    /// Text that must not be shortened, such as names of figures and ids that users type.
    Label,
    Number,
    /// The uncertainty of the numbers to its left, which is omitted first if there is too little space.
    Interval,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Muster's own words; empty if there is nothing to say.
    Words(String),
    /// External text.
    Name(String),
    Count(u64),
    /// `None` is a missing figure.
    Number(Option<f64>, Unit),
    Interval([f64; 2], Unit),
    /// The number of queries that the figure to its left needs.
    Needs(u64),
    /// A part of the longest bar, in steps.
    Bar(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    /// A rate or another plain number.
    Plain,
    /// A relative change: 0.05 is +5 %.
    Change,
    /// A part of a whole: 0.05 is 5 %.
    Share,
    /// As `Share`, rounded down, so that 100 % is the whole.
    ShareDown,
}

/// A table with a row for each item, built column by column.
pub struct TableOf<'t, T> {
    items: Vec<&'t T>,
    table: Table,
}

impl<'t, T> TableOf<'t, T> {
    pub fn new(items: impl IntoIterator<Item = &'t T>) -> Self {
        let items: Vec<&T> = items.into_iter().collect();
        let rows = items.iter().map(|_| Vec::new()).collect();
        Self { items, table: Table { columns: Vec::new(), rows } }
    }

    pub fn column(mut self, heading: &'static str, kind: ColumnKind, cell: impl Fn(&T) -> Cell) -> Self {
        self.table.columns.push(Column { heading, kind });
        for (row, item) in self.table.rows.iter_mut().zip(&self.items) {
            row.push(cell(item));
        }
        self
    }

    pub fn labels(self, heading: &'static str, label: impl Fn(&T) -> Cell) -> Self {
        self.column(heading, ColumnKind::Label, label)
    }

    pub fn names(self, heading: &'static str, name: impl Fn(&T) -> &String) -> Self {
        self.column(heading, ColumnKind::Name, |item| Cell::Name(name(item).clone()))
    }

    pub fn counts(self, heading: &'static str, number: impl Fn(&T) -> u64) -> Self {
        self.column(heading, ColumnKind::Number, |item| Cell::Count(number(item)))
    }

    pub fn numbers(self, heading: &'static str, unit: Unit, number: impl Fn(&T) -> Option<f64>) -> Self {
        self.column(heading, ColumnKind::Number, |item| Cell::Number(number(item), unit))
    }

    pub fn times(self, heading: &'static str, ms: impl Fn(&T) -> Option<f64>) -> Self {
        self.numbers(heading, Unit::Milliseconds, ms)
    }

    /// Adds these statistics of each item's latency.
    pub fn figures<const N: usize>(
        self,
        figures: [&Figure; N],
        latency: impl Fn(&T) -> Option<&Latency>,
    ) -> Self {
        figures
            .into_iter()
            .fold(self, |table, figure| table.times(figure.name, |item| latency(item).and_then(figure.of)))
    }

    /// Adds columns on a condition.
    pub fn when(self, is_shown: bool, add: impl FnOnce(Self) -> Self) -> Self {
        if is_shown { add(self) } else { self }
    }

    pub fn table(self) -> Table {
        self.table
    }
}

impl From<&str> for Cell {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

/// The text of the cell for a person.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Words(text) | Self::Name(text) => text.clone(),
            Self::Count(number) => count(*number),
            Self::Number(None, _) => NONE.to_owned(),
            Self::Number(ms, Unit::Milliseconds) => duration_or_none(*ms),
            Self::Number(Some(number), Unit::Plain) => figure(*number),
            Self::Number(change, Unit::Change) => percent(*change),
            Self::Number(part, Unit::Share) => share(*part),
            Self::Number(part, Unit::ShareDown) => share_down(*part),
            Self::Interval(ends, Unit::Change) => percent_range(*ends),
            Self::Interval(ends, _) => duration_range(*ends),
            Self::Needs(number) => format!("(needs {})", counted(*number, "query")),
            Self::Bar(steps) => "#".repeat(*steps),
        })
    }
}
