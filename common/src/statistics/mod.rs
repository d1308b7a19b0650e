//! What can be concluded from samples: intervals, and whether a difference is more than noise. Plain numbers in and out; nothing is
//! sampled or drawn by lot here, so that the same input always gives the same answer. What a sample *is* (percentiles, mean) is told by
//! [`crate::latency`].

mod confidence;
pub mod dependence;
pub mod mann_whitney;
pub mod order;
pub mod outlying;
#[cfg(test)]
pub(crate) mod random;
pub mod signed_rank;

pub use confidence::{Confidence, InvalidConfidence};
