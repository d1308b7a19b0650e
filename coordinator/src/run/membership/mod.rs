//! Who takes part in a run: slots, the agents that hold them, standby agents, and what follows from each loss. A pure state machine: `now`
//! is an argument, events go in, [`Effect`]s come out, and the controller executes them. It knows no channel, no message and no row state.

mod clearance;
mod effect;
mod fences;
mod machine;
mod member;
mod members;
mod placed;
mod policy;
mod suspects;
#[cfg(test)]
mod tests;

pub(crate) use effect::{Effect, EndReason};
pub(crate) use machine::Membership;
pub(crate) use member::{Applicant, Loss, MemberId, Refusal};
pub(crate) use members::Members;
pub(crate) use policy::{Phase, Policy};
