//! The rows of a run, and which of their times are kept.

use muster_core::passes::Passes;

/// The rows of a run, and which of their times are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) passes: Passes,
    pub(crate) retried: Retried,
    /// True if rows have due times. Their lag is then kept, too.
    pub(crate) has_due_times: bool,
    /// The number of slowest rows that are kept.
    pub(crate) slowest: u16,
    /// True if metrics are enabled. Service times are then counted in buckets, too.
    pub(crate) has_metrics: bool,
}

/// Whether the latencies include the service times of rows that may have run before. Their second run may have found a warm cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retried {
    LeftOut,
    Included,
}
