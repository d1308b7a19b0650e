//! Builds the report model from results: [`run`] and [`comparison`] define the order of the sections, the other files build them.
//! Nothing is computed here that a reader of the JSON could not see.

pub(crate) mod comparison;
mod environment;
mod generator;
pub(crate) mod latency;
mod load;
pub(crate) mod model;
mod placement;
pub(crate) mod plan;
mod problems;
pub(crate) mod run;
pub(crate) mod runs;
mod search;
mod server;
pub(crate) mod table;
mod tables;
