//! Rounds: parts of a run in which all agents start together and run until all rows have run or the time is over. A warm-up and the steps of
//! a search are rounds that are not counted: their rows, aggregates and results are independent of those of the run.

mod clock;
mod layout;
mod state;

pub(crate) use clock::{COUNTED, RoundClock, RoundSpec, WARMUP};
pub(crate) use layout::Layout;
pub(crate) use state::Round;
