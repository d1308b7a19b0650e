//! Builds the report model from results: [`run`] and [`comparison`] define the order of the sections, the other files build them.
//! Nothing is computed here that a reader of the JSON could not see.

pub mod comparison;
mod environment;
mod generator;
pub mod latency;
mod load;
pub mod model;
mod placement;
pub mod plan;
mod problems;
pub mod run;
mod search;
mod server;
pub mod table;
mod tables;
