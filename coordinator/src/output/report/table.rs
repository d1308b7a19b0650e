//! Tables of typed cells.

use std::fmt;

use muster_common::latency::Latency;
use muster_common::latency::figure::Figure;

use crate::output::units::{
    NONE, count, counted, duration_or_none, duration_range, figure, percent, percent_range, share, share_down,
};

/// Every row has a cell for each column.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) kind: ColumnKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// External names, which may be shortened.
    Name,
    /// Text that must not be shortened, such as names of figures and ids that users type.
    Label,
    Number,
    /// The uncertainty of the numbers to its left, which is omitted first if there is too little space.
    Interval,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
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
pub(crate) enum Unit {
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

/// A column and how its cells follow from the items of a table.
pub(crate) struct ColumnOf<'a, T: ?Sized> {
    column: Column,
    is_shown: bool,
    cell: Box<dyn Fn(&T) -> Cell + 'a>,
}

pub(crate) fn column<'a, T>(
    heading: &'static str,
    kind: ColumnKind,
    cell: impl Fn(&T) -> Cell + 'a,
) -> ColumnOf<'a, T> {
    ColumnOf { column: Column { heading, kind }, is_shown: true, cell: Box::new(cell) }
}

pub(crate) fn names<'a, T>(heading: &'static str, name: impl Fn(&T) -> &String + 'a) -> ColumnOf<'a, T> {
    column(heading, ColumnKind::Name, move |item| Cell::Name(name(item).clone()))
}

pub(crate) fn counts<'a, T>(heading: &'static str, number: impl Fn(&T) -> u64 + 'a) -> ColumnOf<'a, T> {
    column(heading, ColumnKind::Number, move |item| Cell::Count(number(item)))
}

pub(crate) fn numbers<'a, T>(
    heading: &'static str,
    unit: Unit,
    number: impl Fn(&T) -> Option<f64> + 'a,
) -> ColumnOf<'a, T> {
    column(heading, ColumnKind::Number, move |item| Cell::Number(number(item), unit))
}

pub(crate) fn times<'a, T>(heading: &'static str, ms: impl Fn(&T) -> Option<f64> + 'a) -> ColumnOf<'a, T> {
    numbers(heading, Unit::Milliseconds, ms)
}

/// A statistic of each item's latency.
pub(crate) fn figures<'a, T>(
    figure: &'static Figure,
    latency: impl Fn(&T) -> Option<&Latency> + 'a,
) -> ColumnOf<'a, T> {
    times(figure.name, move |item| latency(item).and_then(figure.of))
}

impl<T> ColumnOf<'_, T> {
    pub(crate) fn only_if(self, is_shown: bool) -> Self {
        Self { is_shown, ..self }
    }
}

impl Table {
    /// A row for each item.
    pub(crate) fn of<'t, T: 't>(
        items: impl IntoIterator<Item = &'t T>,
        columns: impl IntoIterator<Item = ColumnOf<'t, T>>,
    ) -> Self {
        let columns: Vec<_> = columns.into_iter().filter(|column| column.is_shown).collect();
        let row = |item| columns.iter().map(|column| (column.cell)(item)).collect();
        let rows = items.into_iter().map(row).collect();
        Self { rows, columns: columns.iter().map(|column| column.column).collect() }
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
