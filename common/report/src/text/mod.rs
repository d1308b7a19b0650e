//! Renders a report as plain text of 80 columns, identical in a terminal and in a file.

pub mod page;
#[cfg(test)]
mod snapshots;
mod table;

use crate::result::Error;
use page::{LABEL_WIDTH, Page, WIDTH, columns, shorten, shorten_path};

use super::report::model::{
    Block, Check, Field, Listing, Note, NoteKind, Report, Section, SectionKind, Span, Title,
};
use super::units::counted;

/// Maximum number of lines of a text that may quote external text; the JSON contains it in full.
const LINES_MAX: usize = 6;
const MESSAGE_LINES_MAX: usize = 3;
/// Maximum number of columns of a host in an error's line.
const HOST_WIDTH: usize = 40;
/// Maximum indentation of a line of code.
const INDENT_MAX: usize = 40;
/// The gap between a status or the name of a section and its text.
const GAP: &str = "   ";

pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    if let Some(title) = &report.title {
        self::title(&mut page, title);
    }
    for note in &report.notes {
        let lead = match note.kind {
            NoteKind::Partial => format!("PARTIAL{GAP}"),
            NoteKind::Observation => format!("NOTE{GAP}"),
            _ => lead(&note.kind),
        };
        page.hanging(&lead, &note.text, LINES_MAX);
    }
    for section in &report.sections {
        self::section(&mut page, section);
    }
    page.finish()
}

fn title(page: &mut Page, Title { status, subject, summary }: &Title) {
    match subject.is_empty() {
        true => page.hanging(&format!("{status}{GAP}"), summary, LINES_MAX),
        false => page.line(&format!("{status}{GAP}{subject}")),
    }
}

fn section(page: &mut Page, section: &Section) {
    page.gap();
    if section.kind != SectionKind::Overview {
        let name = section.name.to_uppercase();
        let lead = format!("{name}{GAP}");
        match (&section.of, &section.about) {
            (Some(of), _) => page.hanging("", &format!("{name} of {of}"), usize::MAX),
            (None, Some(Span::Path(path))) => {
                page.line(&format!("{lead}{}", shorten_path(path, WIDTH - columns(&lead))));
            }
            (None, Some(Span::Words(about) | Span::Name(about) | Span::Code(about))) => {
                page.hanging(&lead, about, usize::MAX);
            }
            (None, None) => page.line(&name),
        }
    }
    for block in &section.blocks {
        match block {
            Block::Fields(fields) => fields.iter().for_each(|field| self::field(page, field)),
            Block::Table(table) => table::lines(table, WIDTH).iter().for_each(|line| page.push(line)),
            Block::Notes(notes) => notes.iter().for_each(|note| self::note(page, note)),
            Block::Checks(checks) => checks.iter().for_each(|check| self::check(page, check)),
            Block::Failures(errors) => errors.iter().for_each(|error| failure(page, error)),
            Block::Listing(listing) => self::listing(page, listing),
        }
    }
}

/// Code is shown only if the field has nothing else.
fn field(page: &mut Page, Field { label, parts }: &Field) {
    if let [Span::Code(code)] = parts.as_slice() {
        return page.field_text(label, code);
    }
    let shown = parts.iter().filter_map(|part| match part {
        Span::Words(text) | Span::Name(text) => Some(text.clone()),
        Span::Path(path) => Some(shorten_path(path, WIDTH - LABEL_WIDTH)),
        Span::Code(_) => None,
    });
    page.field(label, &shown.collect::<Vec<_>>());
}

fn note(page: &mut Page, note: &Note) {
    let lines_max = if note.kind == NoteKind::Sentence { usize::MAX } else { LINES_MAX };
    page.hanging(&lead(&note.kind), &note.text, lines_max);
}

fn lead(kind: &NoteKind) -> String {
    match kind {
        NoteKind::Sentence | NoteKind::Partial | NoteKind::Observation => "  ".to_owned(),
        NoteKind::Problem => "  - ".to_owned(),
        NoteKind::Finding(finding) => format!("  {finding}{GAP}"),
        NoteKind::About(what) => format!("  {what}: "),
        NoteKind::Labelled(label) => format!("  {label}  "),
        NoteKind::At(ms) => format!("{:>10.3} s  ", ms / 1e3),
    }
}

fn check(page: &mut Page, check: &Check) {
    let lead = if check.passed { "  passed  " } else { "  MISSED  " };
    let value = check.value.iter().map(|value| format!("is {value}"));
    let details: Vec<String> = value.chain(check.note.clone()).collect();
    page.hanging(lead, &format!("{} ({})", check.expression, details.join("; ")), LINES_MAX);
}

fn failure(page: &mut Page, error: &Error) {
    let Error { sqlstate, count, message, detail, hint, row, host } = error;
    let (queries, host) = (counted(*count, "query"), shorten(host, HOST_WIDTH));
    page.line(&format!("  {sqlstate}{GAP}{queries} · e.g. row {row} of host {host}"));
    let texts = [("", Some(message)), ("DETAIL: ", detail.as_ref()), ("HINT: ", hint.as_ref())];
    for (name, text) in texts {
        let Some(text) = text else { continue };
        page.hanging(&format!("{:10}{name}", ""), text, MESSAGE_LINES_MAX);
    }
}

fn listing(page: &mut Page, listing: &Listing) {
    page.hanging("  ", &listing.title, usize::MAX);
    for line in &listing.lines {
        let text = line.trim_start();
        let indent = (line.len() - text.len()).min(INDENT_MAX);
        page.hanging_code(&" ".repeat(4 + indent), text);
    }
    if let Some(problem) = &listing.problem {
        page.hanging("    no plan: ", problem, usize::MAX);
    }
}
