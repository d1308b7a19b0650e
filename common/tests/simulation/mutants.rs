//! The simulated system with one mechanism taken out. Each has to be caught: an invariant that holds without the mechanism proves
//! nothing about it. The mutants live in the simulation's own coordinator and agents; the product has no hooks for them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Every result counts, whether the row has one or not.
    NoDeduplication,
    /// The coordinator fences after 2 s, before the agent's lease has lapsed.
    ShortFence,
    /// An agent goes on when its lease has lapsed.
    NoSelfFencing,
    /// What nobody acknowledged is forgotten with its session.
    ForgottenResults,
    /// The coordinator takes beats and results of a session that it gave up.
    LapsedResume,
    /// A lost slot places every host anew, by its position.
    NoRendezvous,
    /// Results are acknowledged before they are in the journal.
    AckBeforeJournal,
    /// A result is settled, and handed to the journal a moment later, unless its session is over by then.
    SettledApart,
    /// A slot's new owner does not end the backends of the session before.
    BackendsNotEnded,
    /// When the database does not let old backends be ended, nobody waits for the server's own timeout.
    RefusalIgnored,
    /// A broken connection counts as a lapsed lease: the slot's next owner begins at once.
    BrokenIsLapsed,
    /// A coordinator that takes a run up again begins at once.
    NoLeaseWait,
    /// A coordinator that takes a run up again ends the old backends of each slot when that slot begins, and not of all slots first.
    ResumeSlotBySlot,
    /// A coordinator that takes a run up again numbers its sessions from 1.
    EpochsRepeat,
    /// The journal has what was settled, and not what was sent.
    SentNotJournaled,
    /// Results of a former session do not tell that this session is over.
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
            Self::LapsedResume => "a lost session is taken back",
            Self::NoRendezvous => "a loss places every host anew",
            Self::AckBeforeJournal => "acknowledged before journaled",
            Self::SettledApart => "settled and journaled in two steps",
            Self::BackendsNotEnded => "old backends are not ended",
            Self::RefusalIgnored => "the database's refusal is not waited out",
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
