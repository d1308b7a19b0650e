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

const PAGE: &str = include_str!("page.html");
const BODY: &str = include_str!("body.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const LIVE_SCRIPT: &str = include_str!("live.js");

/// A figure at the top of the page.
#[derive(Debug, Serialize)]
pub(super) struct Headline {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// Its interval, or what it is made of.
    pub(super) detail: String,
}

/// What is shown between the title and the end of the page.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    pub(super) status: String,
    pub(super) subject: String,
    pub(super) summary: String,
    /// Links to the files of a finished run, for the live page.
    pub(super) has_files: bool,
    pub(super) headlines: Vec<Headline>,
    pub(super) notes: Vec<NoteView>,
    pub(super) charts: Vec<Chart>,
    pub(super) sections: Vec<SectionView>,
}

#[derive(Debug, Serialize)]
struct Page {
    title: String,
    style: &'static str,
    script: String,
    style_hash: String,
    script_hash: String,
    /// The page loads its body from the server.
    is_live: bool,
    body: String,
}

impl Body {
    /// A report: the figures and charts, then the sections in the order of [`sections::ordered`].
    pub(super) fn new(report: &Report, headlines: Vec<Headline>, charts: Vec<Chart>) -> Self {
        let title = report.title.as_ref();
        Self {
            status: title.map_or("", |title| title.status).to_owned(),
            subject: title.map_or(String::new(), |title| sections::text(&title.subject)),
            summary: title.map_or(String::new(), |title| sections::text(&title.summary)),
            has_files: false,
            headlines,
            notes: report.notes.iter().map(NoteView::from).collect(),
            charts,
            sections: sections::ordered(&report.sections),
        }
    }

    pub(super) fn render(&self) -> String {
        render(BODY, self)
    }

    /// Renders a file that contains everything.
    pub(super) fn page(&self) -> String {
        let title = format!("Muster: {} · {}", self.status, self.summary);
        page(title, SCRIPT.to_owned(), false, self.render())
    }
}

/// Renders the page that loads its body from the server and follows the run.
pub(super) fn live() -> String {
    let body = "<main><p>The run is about to start.</p></main>".to_owned();
    page("Muster: live".to_owned(), format!("{SCRIPT}{LIVE_SCRIPT}"), true, body)
}

fn page(title: String, script: String, is_live: bool, body: String) -> String {
    let (style_hash, script_hash) = (hash(STYLE), hash(&script));
    // The template engine removes the last newline.
    render(PAGE, &Page { title, style: STYLE, script, style_hash, script_hash, is_live, body }) + "\n"
}

fn render(template: &str, values: &impl Serialize) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the default ones"));
    environment
        .render_str(template, Serde(values))
        .expect("the template is fixed, and tests render all of it")
}

/// The hash by which a Content-Security-Policy allows one style sheet or script.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}
