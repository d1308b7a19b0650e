//! Tests that keep the pages in `docs/reference` equal to what the programs define. `just reference` writes the pages.

mod exit_codes;
mod json;
mod json_schema;
// Other systems do not provide all metrics of a process.
#[cfg(target_os = "linux")]
mod metrics;
mod options;
mod page;
