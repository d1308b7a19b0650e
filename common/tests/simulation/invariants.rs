//! The invariants that hold under every fault.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    CountedOnce,
    TotalsAddUp,
    SlotAlone,
    HostAlone,
    HostsStay,
    LostIsLost,
    NothingVanishes,
    NothingUnknown,
    NoFailureOfOurs,
    RetriesReported,
    OnlyDeathsQuarantine,
    Ends,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CountedOnce => "a row is counted once",
            Self::TotalsAddUp => "the totals add up",
            Self::SlotAlone => "one session of a slot runs queries",
            Self::HostAlone => "one worker runs a host's rows",
            Self::HostsStay => "hosts of live agents stay",
            Self::LostIsLost => "a lost session counts nothing",
            Self::NothingVanishes => "no measurement vanishes",
            Self::NothingUnknown => "no result is unknown",
            Self::NoFailureOfOurs => "no failure of our own making counts",
            Self::RetriesReported => "a second run is reported as a retry",
            Self::OnlyDeathsQuarantine => "only deaths quarantine a row",
            Self::Ends => "the run ends as it should",
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}
