//! The demo: generated data and queries, the same on every machine, and the schema that the data is loaded into.

pub mod generate;
pub mod migrate;
mod samples_csv;

/// The seed of the files committed in `data/`.
pub const SEED: u64 = 1;
