//! Muster's coordinator as a library: what `coordinator` runs, for its own binary and for tests.

pub mod demo;
pub mod embedded;
pub mod output;
pub mod progress;
pub mod workload;
