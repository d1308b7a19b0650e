//! Reads the JSON result of a run from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use muster_core::limits::RESULT_BYTES_MAX;
use muster_report::result::{self, RunResult};

pub(super) fn read(path: &Path) -> anyhow::Result<RunResult> {
    let mut json = Vec::new();
    File::open(path)?.take(RESULT_BYTES_MAX as u64 + 1).read_to_end(&mut json)?;
    anyhow::ensure!(json.len() <= RESULT_BYTES_MAX, "the file is longer than {RESULT_BYTES_MAX} bytes");
    // The schema is checked first, because the fields of another schema may have another meaning.
    #[derive(serde::Deserialize)]
    struct Schema {
        #[serde(default)]
        schema: String,
    }
    let expected = "write a result with: coordinator report RUN --output json=FILE";
    let Schema { schema } =
        serde_json::from_slice(&json).with_context(|| format!("not a JSON result; {expected}"))?;
    anyhow::ensure!(
        schema == result::SCHEMA,
        "the schema is '{schema}', expected '{}'; {expected}",
        result::SCHEMA
    );
    Ok(serde_json::from_slice(&json)?)
}
