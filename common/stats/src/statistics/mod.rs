//! Statistical inference: confidence intervals, and tests of whether a difference is more than noise. Functions of plain numbers without
//! randomness, so that the same input always gives the same result. Descriptive statistics (percentiles, mean) are in [`crate::latency`].

mod confidence;
pub mod dependence;
pub mod mann_whitney;
pub mod order;
pub mod outlying;
pub mod signed_rank;

pub use confidence::{Confidence, InvalidConfidence};
