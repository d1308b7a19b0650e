//! The sections of the report model as values for the template. External text is made printable here; the template escapes it.

use muster_core::printable::{harmless, printable};
use serde::Serialize;

use crate::report::model::{Block, Check, Field, Listing, Note, NoteKind, Section, Span};
use crate::report::table::{Cell, ColumnKind, Table};
use crate::result::Error;
use crate::units::{NONE, count};

/// The order of sections on the page: what is about times, then who ran, what failed, the server, and how to repeat it. Others come after
/// them.
const ORDER: [&str; 16] = [
    "Thresholds",
    "Search",
    "Latency",
    "Versus",
    "Queries",
    "Agents",
    "Workers",
    "Hosts",
    "Placement",
    "Errors",
    "Unaccounted",
    "Events",
    "Generator",
    "Server",
    "Plans",
    "Run",
];

#[derive(Debug, Serialize)]
pub(super) struct SectionView {
    name: String,
    about: String,
    blocks: Vec<BlockView>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum BlockView {
    Fields { fields: Vec<FieldView> },
    Table { columns: Vec<ColumnView>, rows: Vec<Vec<CellView>> },
    Notes { notes: Vec<NoteView> },
    Listing { title: String, lines: String, problem: Option<String> },
}

#[derive(Debug, Serialize)]
struct FieldView {
    label: &'static str,
    parts: Vec<CellView>,
}

#[derive(Debug, Serialize)]
struct ColumnView {
    heading: &'static str,
    class: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct CellView {
    text: String,
    class: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct NoteView {
    class: &'static str,
    label: String,
    text: String,
}

/// Sections for the template, in the order of the page.
pub(super) fn ordered(sections: &[Section]) -> Vec<SectionView> {
    let position =
        |section: &&Section| ORDER.iter().position(|name| *name == section.name).unwrap_or(ORDER.len());
    let mut ordered: Vec<&Section> = sections.iter().collect();
    ordered.sort_by_key(position);
    ordered
        .into_iter()
        .map(section)
        .filter(|section| !section.blocks.is_empty() || !section.about.is_empty())
        .collect()
}

/// Muster's own words, which may quote external text.
pub(super) fn text(words: &str) -> String {
    harmless(words)
}

fn section(section: &Section) -> SectionView {
    let of = section.of.as_ref().map_or(String::new(), |of| format!(" of {}", text(of)));
    SectionView {
        name: format!("{}{of}", section.name),
        about: section.about.as_ref().map_or(String::new(), |about| span(about).text),
        blocks: section.blocks.iter().filter_map(block).collect(),
    }
}

/// `None` for a block without content.
fn block(block: &Block) -> Option<BlockView> {
    Some(match block {
        Block::Fields(fields) => {
            let fields: Vec<FieldView> =
                fields.iter().filter(|field| !field.parts.is_empty()).map(field).collect();
            (!fields.is_empty()).then_some(BlockView::Fields { fields })?
        }
        Block::Table(of) => (!of.rows.is_empty()).then(|| table(of))?,
        Block::Notes(notes) => (!notes.is_empty())
            .then(|| BlockView::Notes { notes: notes.iter().map(NoteView::from).collect() })?,
        Block::Checks(checks) => (!checks.is_empty()).then(|| self::checks(checks))?,
        Block::Failures(errors) => (!errors.is_empty()).then(|| failures(errors))?,
        Block::Listing(Listing { title, lines, problem }) => BlockView::Listing {
            title: text(title),
            lines: lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n"),
            problem: problem.as_ref().map(|problem| text(problem)),
        },
    })
}

fn field(field: &Field) -> FieldView {
    FieldView { label: field.label, parts: field.parts.iter().map(span).collect() }
}

fn span(span: &Span) -> CellView {
    match span {
        Span::Words(words) => CellView { text: text(words), class: "words" },
        Span::Name(name) | Span::Path(name) => CellView { text: text(name), class: "name" },
        Span::Code(code) => CellView { text: printable(code), class: "code" },
    }
}

fn table(Table { columns, rows }: &Table) -> BlockView {
    let class = |kind| match kind {
        ColumnKind::Name => "name",
        ColumnKind::Label => "label",
        ColumnKind::Number => "number",
        ColumnKind::Interval => "interval",
    };
    let cell = |cell: &Cell, kind| CellView { text: text(&cell.to_string()), class: class(kind) };
    BlockView::Table {
        columns: columns
            .iter()
            .map(|column| ColumnView { heading: column.heading, class: class(column.kind) })
            .collect(),
        rows: rows
            .iter()
            .map(|row| row.iter().zip(columns).map(|(it, column)| cell(it, column.kind)).collect())
            .collect(),
    }
}

fn checks(checks: &[Check]) -> BlockView {
    let row = |check: &Check| {
        let note = check.note.as_ref().map_or(String::new(), |note| format!(": {}", text(note)));
        let (class, outcome) = if check.passed { ("passed", "passed") } else { ("missed", "missed") };
        vec![
            CellView { text: text(&check.expression), class: "code" },
            CellView { text: check.value.clone().unwrap_or_else(|| NONE.to_owned()), class: "number" },
            CellView { text: format!("{outcome}{note}"), class },
        ]
    };
    let columns = [("threshold", "label"), ("value", "number"), ("result", "label")];
    fixed(columns, checks.iter().map(row).collect())
}

fn failures(errors: &[Error]) -> BlockView {
    let row = |error: &Error| {
        let named = |name: &str, of: &Option<String>| {
            of.as_ref().map_or(String::new(), |of| format!("\n{name}: {}", text(of)))
        };
        let message = text(&error.message) + &named("DETAIL", &error.detail) + &named("HINT", &error.hint);
        vec![
            CellView { text: text(&error.sqlstate), class: "code" },
            CellView { text: count(error.count), class: "number" },
            CellView { text: message, class: "message" },
            CellView { text: format!("row {}, host {}", error.row, text(&error.host)), class: "name" },
        ]
    };
    let columns = [("SQLSTATE", "label"), ("count", "number"), ("message", "label"), ("example", "name")];
    fixed(columns, errors.iter().map(row).collect())
}

fn fixed<const N: usize>(columns: [(&'static str, &'static str); N], rows: Vec<Vec<CellView>>) -> BlockView {
    let columns = columns.into_iter().map(|(heading, class)| ColumnView { heading, class }).collect();
    BlockView::Table { columns, rows }
}

impl From<&Note> for NoteView {
    fn from(note: &Note) -> Self {
        let (class, label) = match &note.kind {
            NoteKind::Sentence => ("sentence", String::new()),
            NoteKind::Problem => ("problem", String::new()),
            NoteKind::Partial => ("problem", "Partial result".to_owned()),
            NoteKind::Observation => ("observation", "Note".to_owned()),
            NoteKind::Finding(finding) => ("finding", (*finding).to_owned()),
            NoteKind::About(what) | NoteKind::Labelled(what) => ("labelled", text(what)),
            NoteKind::At(ms) => ("at", format!("{:.3} s", ms / 1e3)),
        };
        Self { class, label, text: text(&note.text) }
    }
}
