//! Whether a record can be run, before any agent is touched. Pure: a record and the columns in, the host or the fault out.
//! A hostname with SQL in it is a good hostname: values are data and travel as parameters.

use super::error::Fault;
use super::header::{Columns, Window};
use super::mix;
use super::records::Records;
use super::time::{self, Reading};

/// The record's host.
pub(super) fn host<'a>(record: &'a Records, columns: &Columns) -> Result<&'a str, Fault> {
    if record.len() != columns.names.len() {
        return Err(Fault::FieldCount {
            expected: columns.names.len(),
            found: record.len(),
            spans_lines: record.text().contains(&b'\n'),
        });
    }
    text(record, columns)?;
    let host = std::str::from_utf8(record.field(columns.host))
        .map_err(|_| Fault::NotUtf8 { column: columns.names[columns.host].clone() })?;
    if host.is_empty() {
        return Err(Fault::EmptyHost { column: columns.names[columns.host].clone() });
    }
    window(record, columns)?;
    Ok(host)
}

/// The statement that the record names; `None` where no column does.
pub(super) fn statement(record: &Records, columns: &Columns) -> Result<Option<u8>, Fault> {
    let Some((position, names)) = &columns.query else { return Ok(None) };
    mix::named(record.field(*position), &columns.names[*position], names).map(Some)
}

/// Every needed value is text as PostgreSQL has it. Columns that nobody asked for may hold anything.
fn text(record: &Records, columns: &Columns) -> Result<(), Fault> {
    // One look at all fields together settles nearly every record. Only ASCII can be looked at so: two halves of a character in
    // neighbouring fields would pass as one.
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

fn window(record: &Records, columns: &Columns) -> Result<(), Fault> {
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
