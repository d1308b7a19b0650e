//! The record of a run apart from its rows: which agents took part, what happened, and how it ended. It is built from a sequence of facts.
//! The controller notes them as they occur, the journal stores them, and replaying the journal gives the same record.

mod fact;
mod found;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use fact::{Fact, resets_aggregates};
pub(crate) use found::Found;
pub(crate) use session::{Disconnected, Loss, Move, Session};
pub(crate) use state::{Record, Searched};
