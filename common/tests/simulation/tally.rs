//! How often what happened. A simulation proves nothing about what it never reaches, so over many schedules none of these may stay at 0.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Executions,
    Sessions,
    /// Rows in flight in a session that was lost.
    RowsLost,
    RowsHandedBack,
    RowsQuarantined,
    /// Agents that stood by and got a slot.
    Promotions,
    /// Slots that were given up.
    SlotsGivenUp,
    CoordinatorsResumed,
    /// Results counted that a later session told.
    ResultsCountedLate,
    Duplicates,
    /// Results of a session that was over already.
    StaleResults,
    QueriesEndedBySuccessors,
    /// Results that nobody asked for in time.
    ResultsExpired,
}

impl Seen {
    pub(crate) const ALL: [Self; 13] = [
        Self::Executions,
        Self::Sessions,
        Self::RowsLost,
        Self::RowsHandedBack,
        Self::RowsQuarantined,
        Self::Promotions,
        Self::SlotsGivenUp,
        Self::CoordinatorsResumed,
        Self::ResultsCountedLate,
        Self::Duplicates,
        Self::StaleResults,
        Self::QueriesEndedBySuccessors,
        Self::ResultsExpired,
    ];
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally([usize; Seen::ALL.len()]);

impl Tally {
    pub(crate) fn add(&mut self, seen: Seen, count: usize) {
        self.0[seen as usize] += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let Self(counts) = other;
        self.0.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }

    pub(crate) fn of(&self, seen: Seen) -> usize {
        self.0[seen as usize]
    }
}
