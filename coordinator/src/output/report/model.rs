//! The report model: what a report says, as plain values. It has no padding, wrapping or markup; how a part looks is up to the renderers
//! ([`crate::output::text`], [`crate::output::markdown`]), each of which is one pure function from a [`Report`] to a string.

use muster_report::result::Error;

use super::table::Table;

#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `None` for a plain list.
    pub(crate) title: Option<Title>,
    /// What a reader must know before the figures.
    pub(crate) notes: Vec<Note>,
    pub(crate) sections: Vec<Section>,
}

#[derive(Debug)]
pub(crate) struct Title {
    /// The verdict or the finding: `VALID`, `SLOWER`.
    pub(crate) status: &'static str,
    /// What the report is about, such as the run and its start; empty if the sections say so.
    pub(crate) subject: String,
    /// The result in a sentence.
    pub(crate) summary: String,
}

#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) kind: SectionKind,
    pub(crate) name: &'static str,
    /// What the section covers, as in `Latency of 200 queries`.
    pub(crate) of: Option<String>,
    /// An explanation beside the name.
    pub(crate) about: Option<Span>,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Fields and sentences that explain themselves, so that a renderer may omit the name.
    Overview,
    Body,
    /// Long lists. A renderer for a short summary omits the section.
    Detail,
}

#[derive(Debug)]
pub(crate) enum Block {
    Fields(Vec<Field>),
    Table(Table),
    Notes(Vec<Note>),
    Checks(Vec<Check>),
    Failures(Vec<Error>),
    Listing(Listing),
}

/// A label and what it stands for. Without parts it is not shown.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) label: &'static str,
    pub(crate) parts: Vec<Span>,
}

/// A piece of text that stays together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Span {
    /// Muster's own words and figures, which may quote external text.
    Words(String),
    /// External text: a name, an id.
    Name(String),
    Path(String),
    /// A statement or a command line. A renderer with little space omits it beside other parts.
    Code(String),
}

#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    pub(crate) text: String,
}

#[derive(Debug, PartialEq)]
pub(crate) enum NoteKind {
    /// A complete sentence or list; its length is bounded.
    Sentence,
    /// A cause with its remedy, or a warning.
    Problem,
    /// What is missing from the whole report.
    Partial,
    /// An observation that changes no verdict.
    Observation,
    /// The text gives the reasons for this finding, such as `SLOWER`.
    Finding(&'static str),
    /// The text explains this.
    About(String),
    /// The text is the value of this.
    Labelled(String),
    /// What happened at this time, in milliseconds.
    At(f64),
}

/// A pass/fail criterion.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) expression: String,
    /// With its unit; `None` if the criterion cannot be decided.
    pub(crate) value: Option<String>,
    pub(crate) passed: bool,
    pub(crate) note: Option<String>,
}

/// Code of several lines, such as a plan, or the reason why there is none.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    pub(crate) problem: Option<String>,
}

impl Section {
    pub(crate) fn new(name: &'static str, blocks: Vec<Block>) -> Self {
        Self { kind: SectionKind::Body, name, of: None, about: None, blocks }
    }

    pub(crate) fn overview(name: &'static str, fields: Vec<Field>) -> Self {
        Self { kind: SectionKind::Overview, ..Self::new(name, vec![Block::Fields(fields)]) }
    }

    pub(crate) fn detail(self) -> Self {
        Self { kind: SectionKind::Detail, ..self }
    }

    pub(crate) fn of(self, of: String) -> Self {
        Self { of: Some(of), ..self }
    }

    pub(crate) fn about(self, about: impl Into<Span>) -> Self {
        Self { about: Some(about.into()), ..self }
    }
}

impl Field {
    pub(crate) fn new(label: &'static str, parts: impl IntoIterator<Item = impl Into<Span>>) -> Self {
        Self { label, parts: parts.into_iter().map(Into::into).collect() }
    }
}

impl Note {
    pub(crate) fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn sentence(text: impl Into<String>) -> Self {
        Self::new(NoteKind::Sentence, text)
    }

    pub(crate) fn problem(text: &String) -> Self {
        Self::new(NoteKind::Problem, text)
    }
}

impl From<String> for Span {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Span {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}
