//! What went wrong or was checked: thresholds, errors, rows without a result, and events.

use crate::result::{Error, Event, Queries, Threshold};

use super::model::{Block, Check, Note, NoteKind, Section};
use crate::units::{count, counted, duration, figure};

const ERRORS_MAX: usize = 10;
const RANGES_MAX: usize = 10;
const EVENTS_MAX: usize = 20;

pub(super) fn thresholds(thresholds: &[Threshold]) -> Option<Section> {
    let check = |threshold: &Threshold| Check {
        expression: threshold.expression.clone(),
        value: threshold.value.map(|value| match threshold.unit.as_str() {
            "ms" => duration(value),
            "" => figure(value),
            unit => format!("{} {unit}", figure(value)),
        }),
        passed: threshold.passed,
        note: threshold.note.clone(),
    };
    let checks = thresholds.iter().map(check).collect();
    (!thresholds.is_empty()).then(|| Section::new("Thresholds", vec![Block::Checks(checks)]))
}

pub(super) fn errors(errors: &[Error]) -> Option<Section> {
    let mut shown = errors.to_vec();
    shown.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.row.cmp(&b.row)));
    shown.truncate(ERRORS_MAX);
    let mut blocks = vec![Block::Failures(shown)];
    if let Some(more) = errors.len().checked_sub(ERRORS_MAX).filter(|more| *more > 0) {
        blocks
            .push(Block::Notes(vec![Note::sentence(format!("… and {more} more kinds (in the JSON: all)"))]));
    }
    let about = "by SQLSTATE and message; row ids count from 0";
    (!errors.is_empty()).then(|| Section::new("Errors", blocks).about(about))
}

pub(super) fn unaccounted(queries: &Queries) -> Option<Section> {
    let mut notes = vec![Note::sentence(ranges(&queries.unaccounted_rows))];
    if !queries.quarantined_rows.is_empty() {
        let rows: Vec<[u64; 2]> = queries.quarantined_rows.iter().map(|row| [*row, *row]).collect();
        let about = NoteKind::About("quarantined after three agent losses".to_owned());
        notes.push(Note::new(about, ranges(&rows)));
    }
    let about = format!("{}; row ids count from 0", counted(queries.unaccounted, "row"));
    let section = || Section::new("Unaccounted", vec![Block::Notes(notes)]).about(about);
    (queries.unaccounted > 0).then(section)
}

/// Formats the first ranges, such as `0-99, 150, 200-300`, and the number of further ranges.
fn ranges(rows: &[[u64; 2]]) -> String {
    let range =
        |[first, last]: &[u64; 2]| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let mut text: Vec<String> = rows.iter().take(RANGES_MAX).map(range).collect();
    if rows.len() > RANGES_MAX {
        let more = count((rows.len() - RANGES_MAX) as u64);
        text.push(format!("… and {more} more ranges (in the JSON: all)"));
    }
    text.join(", ")
}

pub(super) fn events(events: &[Event]) -> Option<Section> {
    let omitted = events.len().saturating_sub(EVENTS_MAX);
    let about = match omitted {
        0 => "time since the coordinator started to listen".to_owned(),
        _ => format!("the last {EVENTS_MAX} of {} (in the JSON: all)", count(events.len() as u64)),
    };
    let note = |event: &Event| {
        let what = match event.times {
            1 => event.what.clone(),
            times => format!("{} ({times} times)", event.what),
        };
        Note::new(NoteKind::At(event.at_ms), what)
    };
    let notes = events[omitted..].iter().map(note).collect();
    (!events.is_empty()).then(|| Section::new("Events", vec![Block::Notes(notes)]).about(about).detail())
}
