//! From the aggregates and the record of a run to its result.

mod inputs;
mod judged;
mod load;
mod plots;
mod result;
mod so_far;
mod statements;
mod workers;

pub(crate) use inputs::Counted;
pub(crate) use result::summarize;
pub(crate) use so_far::so_far;
