//! The report model: what a report says, as plain values. It has no padding, wrapping or markup; how a part looks is up to the renderers
//! ([`crate::text`], [`crate::markdown`]), each of which is one pure function from a [`Report`] to a string.

use crate::result::Error;

use super::table::Table;

#[derive(Debug, Default)]
pub struct Report {
    /// `None` for a plain list.
    pub title: Option<Title>,
    /// What a reader must know before the figures.
    pub notes: Vec<Note>,
    pub sections: Vec<Section>,
}

#[derive(Debug)]
pub struct Title {
    /// The verdict or the finding: `VALID`, `SLOWER`.
    pub status: &'static str,
    /// What the report is about, such as the run and its start; empty if the sections say so.
    pub subject: String,
    /// The result in a sentence.
    pub summary: String,
}

#[derive(Debug)]
pub struct Section {
    pub kind: SectionKind,
    pub name: &'static str,
    /// What the section covers, as in `Latency of 200 queries`.
    pub of: Option<String>,
    /// An explanation beside the name.
    pub about: Option<Span>,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Fields and sentences that explain themselves, so that a renderer may omit the name.
    Overview,
    Body,
    /// Long lists. A renderer for a short summary omits the section.
    Detail,
}

#[derive(Debug)]
pub enum Block {
    Fields(Vec<Field>),
    Table(Table),
    Notes(Vec<Note>),
    Checks(Vec<Check>),
    Failures(Vec<Error>),
    Listing(Listing),
}

/// A label and what it stands for. Without parts it is not shown.
#[derive(Debug)]
pub struct Field {
    pub label: &'static str,
    pub parts: Vec<Span>,
}

/// A piece of text that stays together.
#[derive(Debug, Clone, PartialEq)]
pub enum Span {
    /// Muster's own words and figures, which may quote external text.
    Words(String),
    /// External text: a name, an id.
    Name(String),
    Path(String),
    /// A statement or a command line. A renderer with little space omits it beside other parts.
    Code(String),
}

#[derive(Debug)]
pub struct Note {
    pub kind: NoteKind,
    pub text: String,
}

#[derive(Debug, PartialEq)]
pub enum NoteKind {
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
pub struct Check {
    pub expression: String,
    /// With its unit; `None` if the criterion cannot be decided.
    pub value: Option<String>,
    pub passed: bool,
    pub note: Option<String>,
}

/// Code of several lines, such as a plan, or the reason why there is none.
#[derive(Debug)]
pub struct Listing {
    pub title: String,
    pub lines: Vec<String>,
    pub problem: Option<String>,
}

impl Section {
    pub fn new(name: &'static str, blocks: Vec<Block>) -> Self {
        Self { kind: SectionKind::Body, name, of: None, about: None, blocks }
    }

    pub fn overview(name: &'static str, fields: Vec<Field>) -> Self {
        Self { kind: SectionKind::Overview, ..Self::new(name, vec![Block::Fields(fields)]) }
    }

    pub fn detail(self) -> Self {
        Self { kind: SectionKind::Detail, ..self }
    }

    pub fn of(self, of: String) -> Self {
        Self { of: Some(of), ..self }
    }

    pub fn about(self, about: impl Into<Span>) -> Self {
        Self { about: Some(about.into()), ..self }
    }
}

impl Field {
    pub fn new(label: &'static str, parts: impl IntoIterator<Item = impl Into<Span>>) -> Self {
        Self { label, parts: parts.into_iter().map(Into::into).collect() }
    }
}

impl Note {
    pub fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub fn sentence(text: impl Into<String>) -> Self {
        Self::new(NoteKind::Sentence, text)
    }

    pub fn problem(text: &String) -> Self {
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
