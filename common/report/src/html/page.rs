//! The page: template, style sheet and script, with a policy that allows nothing else.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::chart::Chart;
use super::sections::{self, NoteView, SectionView};
use crate::report::model::Report;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A figure at the top of the page.
#[derive(Debug, Serialize)]
pub(super) struct Headline {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// Its interval, or what it is made of.
    pub(super) detail: String,
}

/// What the template shows.
#[derive(Debug, Serialize)]
struct Page {
    status: &'static str,
    subject: String,
    summary: String,
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    headlines: Vec<Headline>,
    notes: Vec<NoteView>,
    charts: Vec<Chart>,
    sections: Vec<SectionView>,
}

/// Renders the page: the figures and charts, then the sections in the order of [`sections::ordered`].
pub(super) fn render(report: &Report, headlines: Vec<Headline>, charts: Vec<Chart>) -> String {
    let title = report.title.as_ref();
    let page = Page {
        status: title.map_or("", |title| title.status),
        subject: title.map_or(String::new(), |title| sections::text(&title.subject)),
        summary: title.map_or(String::new(), |title| sections::text(&title.summary)),
        style: STYLE,
        script: SCRIPT,
        style_hash: hash(STYLE),
        script_hash: hash(SCRIPT),
        headlines,
        notes: report.notes.iter().map(NoteView::from).collect(),
        charts,
        sections: sections::ordered(&report.sections),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the default ones"));
    environment.render_str(TEMPLATE, Serde(page)).expect("the template is fixed, and tests render all of it")
}

/// The hash by which a Content-Security-Policy allows one style sheet or script.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}
