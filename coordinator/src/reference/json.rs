//! `docs/reference/json.md`, from the schemas of the JSON results.

use std::collections::BTreeMap;

use muster_report::result;
use serde_json::Value;

use super::json_schema::{Schema, Shape, description, fields, values};
use super::page::{anchor, check, code, escape, table};

const INTRODUCTION: &str = "\
`--output json` writes these documents. Later versions add fields and never remove or rename one, so a reader should ignore fields that it
does not know. Durations are in milliseconds. A figure is `null` where the sample does not support it or the server does not report it.";

/// The type of a comparison, which is also part of a result.
const COMPARISON: &str = "Comparison";

#[test]
fn the_page_of_json_matches_the_types() {
    let result = document(
        "muster.result/v1",
        "The result of a run: `coordinator run` and `coordinator report`. [JSON Schema](../muster.result.v1.schema.json).",
        result::json_schema().as_value(),
    );
    let comparison = document(
        "muster.compare/v1",
        "A comparison of two runs: `coordinator compare`, and `versus` in the result of a run with `--versus`. A change is new ÷ base − 1, \
         so 0.05 is 5 % slower. [JSON Schema](../muster.compare.v1.schema.json).",
        result::comparison::json_schema().as_value(),
    );
    let page = format!("{INTRODUCTION}\n\n{result}{comparison}");
    let headings: Vec<String> = page.lines().filter(|line| line.starts_with("##")).map(anchor).collect();
    for (index, heading) in headings.iter().enumerate() {
        assert!(!headings[..index].contains(heading), "two sections would have the link #{heading}");
    }
    check("json.md", "JSON results", &page);
}

/// A section for the document, for each object within it, and for each type that several fields have.
fn document(title: &str, introduction: &str, schema: &Value) -> String {
    let schema = Schema::new(schema.clone());
    let document = Document { uses: schema.uses(COMPARISON), schema: &schema };
    let mut text = format!("## {title}\n\n{introduction}\n\n");
    document.object("", schema.root(), &mut text);
    for (name, _) in document.uses.iter().filter(|(_, uses)| **uses > 1) {
        let definition = schema.definition(name);
        text += &format!("### {}\n\n{}\n\n", name, escape(&description(definition).replace('\n', " ")));
        match values(definition).as_slice() {
            [] => document.object("", definition, &mut text),
            values => text += &(table_of(values) + "\n"),
        }
    }
    text
}

struct Document<'a> {
    schema: &'a Schema,
    uses: BTreeMap<&'a str, usize>,
}

impl Document<'_> {
    /// The table of an object, whose fields are below `path`, and then the sections of the objects within it.
    fn object(&self, path: &str, object: &Value, text: &mut String) {
        let rows: Vec<_> =
            fields(object).into_iter().map(|(name, field)| self.row(path, name, field, object)).collect();
        *text += &(table(["path", "type", "unit", "meaning"], &rows) + "\n");
        for (name, field) in fields(object) {
            let shape = self.schema.shape(field);
            if self.has_section_of_its_own(&shape) {
                let path = inner_path(path, name, &shape);
                let definition = self.schema.definition(shape.name);
                *text +=
                    &format!("### {path}\n\n{}\n\n", escape(&description(definition).replace('\n', " ")));
                self.object(&(path + "."), definition, text);
            }
        }
    }

    /// An object that one field has as its type is described below that field's path.
    fn has_section_of_its_own(&self, shape: &Shape<'_>) -> bool {
        shape.is_definition
            && self.uses.get(shape.name) == Some(&1)
            && values(self.schema.definition(shape.name)).is_empty()
    }

    fn row(&self, path: &str, name: &str, field: &Value, object: &Value) -> [String; 4] {
        let shape = self.schema.shape(field);
        let definition = shape.is_definition.then(|| self.schema.definition(shape.name));
        let values = definition.map(values).unwrap_or_default();
        let is_single = self.uses.get(shape.name) == Some(&1);
        let kind = match definition {
            None => shape.name.to_owned(),
            Some(_) if self.has_section_of_its_own(&shape) => {
                format!("[object](#{})", anchor(&inner_path(path, name, &shape)))
            }
            Some(_) if shape.name == COMPARISON => "[muster.compare/v1](#mustercomparev1)".to_owned(),
            Some(_) if is_single => "string".to_owned(),
            Some(_) => format!("[{0}](#{1})", shape.name, anchor(shape.name)),
        };
        let kind = format!("{}{kind}{}", shape.within, if shape.is_nullable { " or null" } else { "" });
        let own = description(field);
        let meaning = if own.is_empty() { definition.map(description).unwrap_or_default() } else { own };
        assert!(!meaning.is_empty(), "the field {path}{name} and its type have no doc comment");
        let mut meaning = escape(&meaning.replace('\n', " "));
        for (value, of) in values.into_iter().filter(|_| is_single) {
            meaning += &format!("<br>{}{}{}", code(value), if of.is_empty() { "" } else { ": " }, escape(of));
        }
        [code(&format!("{path}{name}")), kind, unit(name, &shape, description(object)).to_owned(), meaning]
    }
}

fn inner_path(path: &str, name: &str, shape: &Shape<'_>) -> String {
    format!("{path}{name}{}", if shape.within.is_empty() { "" } else { "[]" })
}

fn table_of(values: &[(&str, &str)]) -> String {
    let rows: Vec<_> = values.iter().map(|(value, of)| [code(value), escape(of)]).collect();
    table(["value", "meaning"], &rows)
}

/// The unit of a number, which its name or the description of its object says.
fn unit(name: &str, shape: &Shape<'_>, object: &str) -> &'static str {
    const SHARES: [&str; 4] = ["share", "change", "margin", "confidence"];
    match name {
        _ if name.ends_with("_ms") => "ms",
        _ if shape.name != "number" && shape.name != "integer" => "",
        _ if name.ends_with("_qps") || name.ends_with("rate") => "queries/s",
        _ if name.ends_with("bytes") => "bytes",
        _ if SHARES.iter().any(|share| name.contains(share)) => "1 = 100 %",
        _ if shape.name == "number" && object.contains("in milliseconds") => "ms",
        _ => "",
    }
}
