//! The controller: one task that takes a run through its phases. Each layer knows only those below it:
//!
//! - `phases`: the order of a run (`RunController`), with its parts `joining`, `rounds`, `search`, `statistics` and `ending`.
//! - `event_loop`: waits for the next event of any kind and handles it.
//! - `sessions`: turns what arrives from agents into calls of the membership.
//! - `executor`: executes the effects on which the membership decides, with `connections`, `log` and the current round.
//!
//! Rows and results do not pass through the controller.

mod connections;
mod ending;
mod error;
mod event_loop;
mod executor;
mod joining;
mod log;
mod messages;
mod outage;
mod phases;
mod rounds;
mod search;
mod sessions;
mod statistics;
mod stats_collector;

pub(crate) use error::RunError;
pub(crate) use messages::ListenAddress;
pub(crate) use phases::{Conclusion, RunController};
