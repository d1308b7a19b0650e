//! What is compared, and by which criteria.

use super::series::Series;
use crate::result::RunResult;

/// Criteria for calling a change a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// A smaller change is negligible even if it is significant: 0.01 is 1 %.
    pub margin: f64,
    pub timing: Timing,
}

/// The order of two runs in time, which determines what else may have changed between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// One after the other.
    Separate,
    /// Their queries alternated, so any other change affected both.
    Interleaved,
}

impl Default for Options {
    /// The default margin is 1 %, because two separate runs differ by about a percent for reasons that neither of them shows.
    fn default() -> Self {
        Self { margin: 0.01, timing: Timing::Separate }
    }
}

/// One of the two runs.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub result: &'a RunResult,
    /// `None` if only its result is known.
    pub samples: Option<&'a Series>,
}
