//! Tests of the JSON and its committed schema, `docs/muster.result.v1.schema.json`.

use std::path::PathBuf;

use serde_json::Value;

use crate::result::{RunResult, json_schema};

use crate::{Format, fixtures, render};

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/muster.result.v1.schema.json")
}

#[test]
fn the_committed_schema_matches_the_types() {
    let fresh = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some_and(|update| update == "1") {
        std::fs::write(committed(), &fresh).unwrap();
    }
    let found = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        found == fresh,
        "docs/muster.result.v1.schema.json is stale; run this test again with UPDATE_SCHEMA=1"
    );
}

#[test]
fn every_rendered_result_is_valid_and_can_be_read_back() {
    let validator = jsonschema::validator_for(json_schema().as_value()).unwrap();
    for (name, result) in fixtures::all() {
        let json = render(Format::Json, &result);
        let value: Value = serde_json::from_str(&json).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        assert_eq!(serde_json::from_str::<RunResult>(&json).unwrap(), result, "{name}");
    }
}

#[test]
fn the_schema_rejects_invalid_results() {
    let validator = jsonschema::validator_for(json_schema().as_value()).unwrap();
    let good: Value = serde_json::from_str(&render(Format::Json, &fixtures::good())).unwrap();
    let is_rejected = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        !validator.is_valid(&changed)
    };
    assert!(is_rejected("/schema", "muster.result/v2".into()));
    assert!(is_rejected("/ending", "exploded".into()));
    assert!(is_rejected("/queries/total", (-1).into()));
    assert!(is_rejected("/service_time_ms/median", Value::Null));
    assert!(!is_rejected("/service_time_ms/p99", Value::Null));
}
