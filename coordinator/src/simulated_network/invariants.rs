//! What has to hold in every run. docs/internals/faults.md explains each invariant.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Invariant {
    CountedOnce,
    OwnResult,
    NoFailureOfOurs,
    OneSession,
    OneQuery,
    OneRowAtATime,
    HostsStay,
    OnlyDeaths,
    LostIsLost,
    NothingVanishes,
    NothingUnknown,
    RetriesReported,
    TotalsAddUp,
    RunEnds,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CountedOnce => "a row is counted once",
            Self::OwnResult => "a row is counted with its own result",
            Self::NoFailureOfOurs => "no failure of our own making counts",
            Self::OneSession => "one session of a slot runs queries",
            Self::OneQuery => "one query of a host runs",
            Self::OneRowAtATime => "the samples of a worker do not overlap",
            Self::HostsStay => "hosts of live agents stay",
            Self::OnlyDeaths => "only deaths quarantine a row",
            Self::LostIsLost => "a lost session counts nothing",
            Self::NothingVanishes => "no measurement vanishes",
            Self::NothingUnknown => "no message is unexpected",
            Self::RetriesReported => "a second run is reported as a retry",
            Self::TotalsAddUp => "the totals add up",
            Self::RunEnds => "the run ends as it should",
        })
    }
}

/// A violated invariant and what was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: Invariant,
    pub(super) what: String,
}

impl Violation {
    pub(super) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
