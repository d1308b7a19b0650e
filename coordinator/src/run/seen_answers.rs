//! Compares the results of a record that runs more than once, in several passes or again after a loss. Only such a comparison shows that
//! the databases of two agents hold different data, or that data changed during the run. Pure and bounded: in a large workload only
//! a sample of the records is compared.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use muster_core::ids::{Epoch, RowId};
use muster_core::limits::ANSWERS_COMPARED_MAX;
use muster_core::passes::Passes;
use muster_stats::random::SplitMix64;

use crate::workload::HostIndex;

#[derive(Debug)]
pub(crate) struct SeenAnswers {
    passes: Passes,
    /// The first result of each record and database.
    first: HashMap<(RowId, u32), First>,
    differences: Differences,
}

#[derive(Debug)]
struct First {
    epoch: Epoch,
    digest: u64,
    has_changed: bool,
    differs: bool,
}

/// An execution that completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenAnswer {
    pub(crate) row: RowId,
    pub(crate) host: HostIndex,
    /// The session that ran it.
    pub(crate) epoch: Epoch,
    pub(crate) digest: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Records that returned another result in another session.
    pub(crate) between_sessions: u64,
    /// Records that returned another result in the same session.
    pub(crate) within_sessions: u64,
    /// The first difference between sessions.
    pub(crate) example: Option<Difference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The record of the workload.
    pub(crate) record: RowId,
    pub(crate) host: HostIndex,
    pub(crate) sessions: [Epoch; 2],
}

impl SeenAnswers {
    pub(crate) fn new(passes: Passes) -> Self {
        Self { passes, first: HashMap::new(), differences: Differences::default() }
    }

    pub(crate) fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Compares a result with the first one of its record. Returns true if they differ.
    pub(crate) fn compare(&mut self, answer: SeenAnswer) -> bool {
        let SeenAnswer { row, host, epoch, digest } = answer;
        let (record, target) = (self.passes.record_of(row), self.passes.target_of(row));
        let has_room = self.first.len() < ANSWERS_COMPARED_MAX;
        let first = match self.first.entry((record, target)) {
            Entry::Occupied(first) => first.into_mut(),
            Entry::Vacant(vacant) => {
                if has_room && is_compared(record, &self.passes) {
                    vacant.insert(First { epoch, digest, has_changed: false, differs: false });
                }
                return false;
            }
        };
        if first.digest == digest {
            return false;
        }
        let Differences { between_sessions, within_sessions, example } = &mut self.differences;
        if first.epoch == epoch {
            *within_sessions += u64::from(!std::mem::replace(&mut first.has_changed, true));
        } else {
            *between_sessions += u64::from(!std::mem::replace(&mut first.differs, true));
            example.get_or_insert(Difference { record, host, sessions: [first.epoch, epoch] });
        }
        true
    }
}

/// Returns true for all records of a small workload, and for a fixed sample of the records of a larger one.
fn is_compared(record: RowId, passes: &Passes) -> bool {
    let all = u64::from(passes.records()) * u64::from(passes.targets());
    let most = ANSWERS_COMPARED_MAX as u64;
    all <= most || SplitMix64::of_stream(0, record.get().into()).next() % all < most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(seen: &mut SeenAnswers, row: u32, epoch: u64, digest: u64) -> bool {
        let (row, host, epoch) = (RowId::new(row), HostIndex::new(3), Epoch::new(epoch));
        seen.compare(SeenAnswer { row, host, epoch, digest })
    }

    #[test]
    fn a_record_with_a_different_result_in_another_session_is_counted_once() {
        let mut seen = SeenAnswers::new(Passes::try_new(2, 1, 4, 0).unwrap());
        assert!(!compare(&mut seen, 0, 1, 7));
        assert!(!compare(&mut seen, 1, 1, 8));
        assert!(!compare(&mut seen, 2, 2, 7), "the second pass of record 0");
        assert!(compare(&mut seen, 3, 2, 9), "the second pass of record 1");
        assert!(compare(&mut seen, 5, 2, 9), "and its third");
        let sessions = [Epoch::new(1), Epoch::new(2)];
        let example = Some(Difference { record: RowId::new(1), host: HostIndex::new(3), sessions });
        let expected = Differences { between_sessions: 1, within_sessions: 0, example };
        assert_eq!(*seen.differences(), expected);
    }

    #[test]
    fn a_change_within_one_session_is_not_a_difference_between_sessions() {
        let mut seen = SeenAnswers::new(Passes::try_new(1, 1, 3, 0).unwrap());
        compare(&mut seen, 0, 1, 7);
        assert!(compare(&mut seen, 1, 1, 8));
        assert_eq!(*seen.differences(), Differences { within_sessions: 1, ..Differences::default() });
    }

    #[test]
    fn results_of_the_two_databases_of_a_run_are_not_compared() {
        let mut seen = SeenAnswers::new(Passes::try_new(1, 2, 1, 0).unwrap());
        compare(&mut seen, 0, 1, 7);
        assert!(!compare(&mut seen, 1, 1, 8));
    }

    #[test]
    fn only_a_sample_of_many_records_is_compared() {
        let records = 4_000_000;
        let mut seen = SeenAnswers::new(Passes::try_new(records, 1, 2, 0).unwrap());
        for record in 0..records {
            compare(&mut seen, record, 1, 7);
        }
        let compared = seen.first.len();
        assert!((ANSWERS_COMPARED_MAX * 9 / 10..=ANSWERS_COMPARED_MAX).contains(&compared), "{compared}");
        let found = (records..2 * records).filter(|row| compare(&mut seen, *row, 2, 8)).count();
        assert_eq!(found, compared);
    }
}
