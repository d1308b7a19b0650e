//! Counts what happens in a schedule. The simulation proves nothing about events that never occur, so over many schedules every counter
//! has to be above 0.

/// A counted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    Executions,
    Sessions,
    /// Rows that were in flight in a session that was lost.
    RowsLost,
    RowsHandedBack,
    RowsQuarantined,
    /// Standby agents that got a slot.
    Promotions,
    /// Slots that were retired.
    SlotsRetired,
    CoordinatorsResumed,
    /// Results of an earlier session that were counted when a later one sent them.
    InheritedResultsCounted,
    Duplicates,
    /// Results of a session that was already over.
    StaleResults,
    QueriesEndedBySuccessors,
    /// Results that no coordinator asked for in time.
    ResultsExpired,
}

impl Counter {
    pub(crate) const ALL: [Self; 13] = [
        Self::Executions,
        Self::Sessions,
        Self::RowsLost,
        Self::RowsHandedBack,
        Self::RowsQuarantined,
        Self::Promotions,
        Self::SlotsRetired,
        Self::CoordinatorsResumed,
        Self::InheritedResultsCounted,
        Self::Duplicates,
        Self::StaleResults,
        Self::QueriesEndedBySuccessors,
        Self::ResultsExpired,
    ];
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally([usize; Counter::ALL.len()]);

impl Tally {
    pub(crate) fn add(&mut self, event: Counter, count: usize) {
        self.0[event as usize] += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let Self(counts) = other;
        self.0.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }

    pub(crate) fn of(&self, event: Counter) -> usize {
        self.0[event as usize]
    }
}
