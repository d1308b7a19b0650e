//! The simulated system with one mechanism removed. Each removal has to be detected: an invariant that holds without the mechanism proves
//! nothing about it. The mutants live in the simulation's own coordinator and agents; the product has no hooks for them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Every result counts, even when the row already has one.
    NoDeduplication,
    /// The coordinator fences after 2 s, before the agent's lease has lapsed.
    ShortFence,
    /// An agent goes on when its lease has lapsed.
    NoSelfFencing,
    /// Results that were not acknowledged are forgotten with their session.
    ForgottenResults,
    /// The coordinator accepts heartbeats and results of a session that it gave up.
    LapsedResume,
    /// After the loss of a slot, every host is placed again by its position.
    NoRendezvous,
    /// Results are acknowledged before they are in the journal.
    AckBeforeJournal,
    /// A result is settled first and journaled a moment later, unless its session is over by then.
    SettledApart,
    /// A slot's new owner does not end the backends of the previous session.
    BackendsNotEnded,
    /// When the database refuses to end old backends, the coordinator does not wait for the statement timeout.
    RefusalIgnored,
    /// A broken connection counts as a lapsed lease: the slot's next owner begins immediately.
    BrokenIsLapsed,
    /// A coordinator that resumes a run begins immediately.
    NoLeaseWait,
    /// A coordinator that resumes a run ends the old backends of each slot when that slot begins, instead of those of all slots first.
    ResumeSlotBySlot,
    /// A coordinator that resumes a run numbers its sessions from 1.
    EpochsRepeat,
    /// The journal contains settled rows and omits sent rows.
    SentNotJournaled,
    /// Results of a former session do not end that session.
    FormerStaysLive,
    /// Every lost session counts as evidence against its rows.
    LossIsDeath,
}

impl Mutant {
    pub(crate) const ALL: [Self; 17] = [
        Self::NoDeduplication,
        Self::ShortFence,
        Self::NoSelfFencing,
        Self::ForgottenResults,
        Self::LapsedResume,
        Self::NoRendezvous,
        Self::AckBeforeJournal,
        Self::SettledApart,
        Self::BackendsNotEnded,
        Self::RefusalIgnored,
        Self::BrokenIsLapsed,
        Self::NoLeaseWait,
        Self::ResumeSlotBySlot,
        Self::EpochsRepeat,
        Self::SentNotJournaled,
        Self::FormerStaysLive,
        Self::LossIsDeath,
    ];
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoDeduplication => "every result counts",
            Self::ShortFence => "fence of 2 s, shorter than the lease",
            Self::NoSelfFencing => "an agent goes on after its lease",
            Self::ForgottenResults => "unacknowledged results are forgotten",
            Self::LapsedResume => "a lost session is accepted again",
            Self::NoRendezvous => "a loss moves every host",
            Self::AckBeforeJournal => "acknowledged before journaled",
            Self::SettledApart => "settling and journaling are separate",
            Self::BackendsNotEnded => "old backends are not ended",
            Self::RefusalIgnored => "no wait after the database refuses",
            Self::BrokenIsLapsed => "a broken connection counts as a lapsed lease",
            Self::NoLeaseWait => "resume does not wait one lease",
            Self::ResumeSlotBySlot => "resume ends old backends slot by slot",
            Self::EpochsRepeat => "resume numbers its epochs from 1",
            Self::SentNotJournaled => "rows sent are not journaled",
            Self::FormerStaysLive => "a former session stays live",
            Self::LossIsDeath => "every loss counts as a death",
        })
    }
}
