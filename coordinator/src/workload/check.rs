//! Checks that a record can be run, before any agent starts. Pure functions: they take a record and the columns, and return the host or the
//! fault. A hostname that contains SQL is valid: values are data and are sent as parameters.

use super::error::Fault;
use super::header::{Columns, Window};
use super::mix;
use super::records::Records;
use super::time::{self, Reading};

/// Checks the record and returns its host.
pub(super) fn host<'a>(record: &'a Records, columns: &Columns) -> Result<&'a str, Fault> {
    if record.len() != columns.names.len() {
        return Err(Fault::FieldCount {
            expected: columns.names.len(),
            found: record.len(),
            spans_lines: record.text().contains(&b'\n'),
        });
    }
    check_text(record, columns)?;
    let host = std::str::from_utf8(record.field(columns.host))
        .map_err(|_| Fault::NotUtf8 { column: columns.names[columns.host].clone() })?;
    if host.is_empty() {
        return Err(Fault::EmptyHost { column: columns.names[columns.host].clone() });
    }
    check_window(record, columns)?;
    Ok(host)
}

/// The position of the statement that the record names. `None` if the file has no query column.
pub(super) fn statement(record: &Records, columns: &Columns) -> Result<Option<u8>, Fault> {
    let Some((position, names)) = &columns.query else { return Ok(None) };
    mix::named(record.field(*position), &columns.names[*position], names).map(Some)
}

/// Checks that every needed value is valid PostgreSQL text. Columns that are not needed may hold any bytes.
fn check_text(record: &Records, columns: &Columns) -> Result<(), Fault> {
    // One check of all fields together suffices for nearly every record. It only works for ASCII: two halves of a UTF-8 character in
    // adjacent fields would look like one valid character.
    let all = record.text();
    if all.is_ascii() && !all.contains(&0) {
        return Ok(());
    }
    for &position in &columns.needed {
        let column = || columns.names[position].clone();
        let value = record.field(position);
        if std::str::from_utf8(value).is_err() {
            return Err(Fault::NotUtf8 { column: column() });
        }
        if value.contains(&0) {
            return Err(Fault::Nul { column: column() });
        }
    }
    Ok(())
}

/// Checks that the window's times are readable and in order.
fn check_window(record: &Records, columns: &Columns) -> Result<(), Fault> {
    let Some(Window { start, end, zone }) = &columns.window else {
        return Ok(());
    };
    let shown = |position| String::from_utf8_lossy(record.field(position)).into_owned();
    let time = |position: usize| match time::read(record.field(position)) {
        Reading::Time(time) => Ok(Some(time)),
        Reading::Unknown => Ok(None),
        Reading::Impossible => {
            Err(Fault::UnreadableTime { column: columns.names[position].clone(), value: shown(position) })
        }
    };
    match (time(*start)?, time(*end)?) {
        (Some(from), Some(to)) if time::is_reversed(from, to, zone) => Err(Fault::EndBeforeStart {
            start_column: columns.names[*start].clone(),
            start: shown(*start),
            end_column: columns.names[*end].clone(),
            end: shown(*end),
        }),
        _ => Ok(()),
    }
}
