//! The demo: data and queries that need no file, the same on every machine, and the schema they are loaded into.

pub mod generate;
pub mod migrate;
mod samples_csv;

/// The seed of the committed files.
pub const SEED: u64 = 1;
