//! Reads a JSON schema in the form that schemars gives it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The type of a field, without `null` and the arrays around it.
pub(super) struct Shape<'a> {
    /// `string`, `integer`, … or the name of a definition.
    pub(super) name: &'a str,
    pub(super) is_definition: bool,
    /// What is written before the name: `array of `.
    pub(super) within: String,
    pub(super) is_nullable: bool,
}

pub(super) struct Schema {
    root: Value,
}

impl Schema {
    pub(super) fn new(root: Value) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    pub(super) fn definition(&self, name: &str) -> &Value {
        &self.root["$defs"][name]
    }

    pub(super) fn shape<'a>(&'a self, schema: &'a Value) -> Shape<'a> {
        if let Some(options) = schema["anyOf"].as_array() {
            let is_nullable = options.iter().any(|option| option["type"] == "null");
            return Shape { is_nullable, ..self.shape(&options[0]) };
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/$defs/").expect("references are to definitions");
            let definition = self.definition(name);
            return match definition["anyOf"].is_array() {
                // A type or a form of its absence, which has the same fields.
                true => self.shape(definition),
                false => Shape { name, is_definition: true, within: String::new(), is_nullable: false },
            };
        }
        let (name, is_nullable) = match &schema["type"] {
            Value::Array(types) => (&types[0], true),
            only => (only, false),
        };
        let (within, inner) = match name.as_str().expect("every field has a type") {
            // The first item of a tuple stands for all.
            "array" if schema["items"].is_null() => ("array of ", &schema["prefixItems"][0]),
            "array" => ("array of ", &schema["items"]),
            "object" => ("object of ", &schema["additionalProperties"]),
            name => return Shape { name, is_definition: false, within: String::new(), is_nullable },
        };
        let inner = self.shape(inner);
        Shape { within: within.to_owned() + &inner.within, is_nullable, ..inner }
    }

    /// Counts how many fields have each definition as their type. Nothing is counted inside `leaf`, which has its own document.
    pub(super) fn uses(&self, leaf: &str) -> BTreeMap<&str, usize> {
        let mut uses = BTreeMap::new();
        self.count(&self.root, leaf, &mut uses);
        uses
    }

    fn count<'a>(&'a self, schema: &'a Value, leaf: &str, uses: &mut BTreeMap<&'a str, usize>) {
        for (_, field) in fields(schema) {
            let shape = self.shape(field);
            if shape.is_definition && shape.name != leaf {
                let count = uses.entry(shape.name).or_default();
                *count += 1;
                if *count == 1 {
                    self.count(self.definition(shape.name), leaf, uses);
                }
            }
        }
    }
}

/// The fields of an object: those of every version in the order in which they are written, then the others by name.
pub(super) fn fields(schema: &Value) -> Vec<(&str, &Value)> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let mut fields: Vec<(&str, &Value)> = fields.map(|(name, field)| (name.as_str(), field)).collect();
    let place = |name: &str| required.iter().position(|required| *required == name).unwrap_or(required.len());
    fields.sort_by_key(|(name, _)| place(name));
    fields
}

/// The values of an enumeration with their meanings; empty for other types.
pub(super) fn values(definition: &Value) -> Vec<(&str, &str)> {
    let options = definition["oneOf"].as_array();
    let plain =
        options.into_iter().flatten().chain([definition]).filter_map(|option| option["enum"].as_array());
    let plain = plain.flatten().filter_map(Value::as_str).map(|value| (value, ""));
    let described = options
        .into_iter()
        .flatten()
        .filter_map(|option| Some((option["const"].as_str()?, description(option))));
    described.chain(plain).collect()
}

pub(super) fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}
