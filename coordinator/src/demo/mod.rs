//! The demo: data and queries that need no file, the same on every machine.

pub mod generate;
