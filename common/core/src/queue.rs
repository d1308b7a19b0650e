//! The rows that wait for one worker, in the order in which it runs them: first rows that came back from a lost session, then its own rows,
//! pass after pass. In an open loop each row has a due time, which does not change if the row moves to another worker.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::RowId;
use crate::passes::Passes;
use crate::schedule::{Arrivals, Share};

/// One row to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    pub row: RowId,
    /// Time since the start of the run. 0 in a closed loop, where a row is due as soon as its worker is free.
    pub due_ns: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Queue {
    returned: VecDeque<Task>,
    /// The worker's own rows, and those that moved here from workers of retired slots.
    segments: Vec<RowSegment>,
}

/// Records that run in order, pass after pass. Takes four bytes per record, however often it runs.
#[derive(Debug, Clone)]
struct RowSegment {
    records: Vec<RowId>,
    passes: Passes,
    pass: u32,
    at: usize,
    turn: u32,
    /// `None` in a closed loop.
    arrivals: Option<Arrivals>,
}

impl Queue {
    /// Queues `records` in their order, in every pass; due according to `arrivals`, or one after the other.
    pub fn new(records: Vec<RowId>, passes: Passes, arrivals: Option<Arrivals>) -> Self {
        let segment = RowSegment { records, passes, pass: 0, at: 0, turn: 0, arrivals };
        Self { returned: VecDeque::new(), segments: vec![segment] }
    }

    /// Returns the next row: a returned row first, then the one with the earliest due time, then the one in the earliest pass.
    pub fn pop(&mut self) -> Option<Task> {
        if let Some(task) = self.returned.pop_front() {
            return Some(task);
        }
        let waiting = self.segments.iter().enumerate().filter(|(_, segment)| !segment.is_empty());
        let (first, _) =
            waiting.min_by_key(|(position, segment)| (segment.due_ns(), segment.pass, *position))?;
        self.segments[first].next()
    }

    /// Returns a row to the front of the queue.
    pub fn put_back(&mut self, task: Task) {
        self.returned.push_front(task);
    }

    pub fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.segments.iter().all(RowSegment::is_empty)
    }

    /// Appends the rows of another queue.
    pub fn append(&mut self, other: Self) {
        let Self { returned, segments } = other;
        self.returned.extend(returned);
        self.returned.make_contiguous().sort_by_key(|task| task.due_ns);
        self.segments.extend(segments.into_iter().filter(|segment| !segment.is_empty()));
    }

    /// Splits the queue by the `owner` of each record. Due times are preserved overall: rows that are due now stay due, and the parts
    /// together continue at the rate of the whole.
    pub fn divide(self, passes: &Passes, mut owner: impl FnMut(RowId) -> usize) -> BTreeMap<usize, Self> {
        let mut parts: BTreeMap<usize, Self> = BTreeMap::new();
        for task in self.returned {
            parts.entry(owner(passes.record_of(task.row))).or_default().returned.push_back(task);
        }
        for segment in self.segments.into_iter().filter(|segment| !segment.is_empty()) {
            for (owner, part) in segment.divide(&mut owner) {
                parts.entry(owner).or_default().segments.push(part);
            }
        }
        parts
    }

    /// Returns the number of waiting rows. For endless passes, counts only the current pass.
    pub fn len(&self) -> usize {
        self.returned.len() + self.segments.iter().map(RowSegment::len).sum::<usize>()
    }
}

impl RowSegment {
    fn is_empty(&self) -> bool {
        self.records.is_empty() || self.pass >= self.passes.count()
    }

    fn len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let passes_left = match self.passes.count() - self.pass {
            // Endless passes: the number of all rows would exceed the range.
            left if u64::from(left) * u64::from(self.passes.records()) > u64::from(u32::MAX / 2) => 1,
            left => left as usize,
        };
        let turns = self.passes.targets() as usize;
        (passes_left * self.records.len() - self.at) * turns - self.turn as usize
    }

    fn due_ns(&self) -> u64 {
        self.arrivals.as_ref().map_or(0, Arrivals::peek)
    }

    fn next(&mut self) -> Option<Task> {
        let record = *self.records.get(self.at).filter(|_| !self.is_empty())?;
        let row = self.passes.row(self.pass, self.turn, record);
        self.turn += 1;
        if self.turn == self.passes.targets() {
            (self.turn, self.at) = (0, self.at + 1);
        }
        if self.at == self.records.len() {
            (self.at, self.pass) = (0, self.pass + 1);
        }
        Some(Task { row, due_ns: self.arrivals.as_mut().map_or(0, Arrivals::take) })
    }

    /// Splits the records by owner, and keeps the current position of each part.
    fn divide(self, owner: &mut impl FnMut(RowId) -> usize) -> BTreeMap<usize, Self> {
        let all = self.records.len() as u64;
        let mut parts: BTreeMap<usize, Self> = BTreeMap::new();
        for (position, record) in self.records.iter().enumerate() {
            let part = parts.entry(owner(*record)).or_insert_with(|| Self {
                records: Vec::new(),
                passes: self.passes,
                pass: self.pass,
                at: 0,
                turn: 0,
                arrivals: None,
            });
            part.records.push(*record);
            part.at += usize::from(position < self.at);
            if position == self.at {
                part.turn = self.turn;
            }
        }
        for (stream, part) in (0..).zip(parts.values_mut()) {
            if part.at == part.records.len() {
                (part.at, part.pass) = (0, part.pass + 1);
            }
            let share = Share::of(part.records.len() as u64, all);
            let parted = self.arrivals.as_ref().zip(share);
            part.arrivals = parted.map(|(arrivals, share)| arrivals.part(share, stream));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::{Process, Schedule};

    fn records(numbers: impl IntoIterator<Item = u32>) -> Vec<RowId> {
        numbers.into_iter().map(RowId::new).collect()
    }

    fn drain(queue: &mut Queue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|task| task.row.get()).collect()
    }

    fn arrivals(rate: &str, rows: u64, all: u64) -> Option<Arrivals> {
        let schedule = Schedule { rate: rate.parse().unwrap(), process: Process::Uniform, seed: 1 };
        Share::of(rows, all).map(|share| schedule.arrivals(0, share))
    }

    #[test]
    fn rows_come_in_their_order_pass_after_pass() {
        let passes = Passes::try_new(10, 1, 3, 0).unwrap();
        let mut queue = Queue::new(records([2, 5]), passes, None);
        assert_eq!(queue.len(), 6);
        assert_eq!(drain(&mut queue), [2, 5, 12, 15, 22, 25]);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    #[test]
    fn returned_rows_come_first_and_keep_their_due_times() {
        let mut queue = Queue::new(records(0..4), Passes::once(4), arrivals("10", 4, 4));
        let taken = [queue.pop().unwrap(), queue.pop().unwrap()];
        for task in taken.into_iter().rev() {
            queue.put_back(task);
        }
        let due: Vec<Task> = std::iter::from_fn(|| queue.pop()).collect();
        let expected = (0..4).map(|row| Task { row: RowId::new(row), due_ns: u64::from(row) * 100_000_000 });
        assert_eq!(due, expected.collect::<Vec<_>>());
    }

    #[test]
    fn moved_rows_follow_the_workers_own_rows_of_the_same_pass() {
        let passes = Passes::try_new(4, 1, 2, 0).unwrap();
        let mut own = Queue::new(records([0, 1]), passes, None);
        let mut lost = Queue::new(records([2, 3]), passes, None);
        let in_flight = lost.pop().unwrap();
        lost.put_back(in_flight);
        lost.pop();
        own.append(lost);
        assert_eq!(drain(&mut own), [0, 1, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_empty_queue_gives_no_rows() {
        assert!(Queue::default().pop().is_none());
        assert!(Queue::new(Vec::new(), Passes::once(0), None).is_empty());
    }

    #[test]
    fn in_an_open_loop_the_row_with_the_earlier_due_time_comes_first() {
        let mut queue = Queue::new(records([0, 1]), Passes::once(4), arrivals("10", 2, 4));
        queue.append(Queue::new(records([2, 3]), Passes::once(4), arrivals("100", 2, 4)));
        // Due times are 0.2 s and 0.02 s apart.
        assert_eq!(drain(&mut queue), [0, 2, 3, 1]);
    }

    proptest! {
        /// However and whenever a queue is split: every row comes once, in order within its part, and none is due earlier than before the
        /// split.
        #[test]
        fn a_split_queue_neither_loses_nor_repeats_rows(
            count in 1u32..12, targets in 1u32..3, passes in 1u32..4, taken in 0usize..40, owners in 1usize..4, is_open: bool,
        ) {
            let numbering = Passes::try_new(count, targets, passes, 7).unwrap();
            let times = if is_open { arrivals("50", count.into(), count.into()) } else { None };
            let mut queue = Queue::new(records(0..count), numbering, times);
            let mut seen: Vec<Task> = std::iter::from_fn(|| queue.pop()).take(taken).collect();
            // Pretend that the last row was lost.
            if let Some(lost) = seen.pop() {
                queue.put_back(lost);
            }
            let left = queue.len();
            let now_ns = seen.last().map_or(0, |task| task.due_ns);
            let parts = queue.divide(&numbering, |record| record.index() % owners);
            prop_assert_eq!(parts.values().map(Queue::len).sum::<usize>(), left);
            for (owner, mut part) in parts {
                let tasks: Vec<Task> = std::iter::from_fn(|| part.pop()).collect();
                prop_assert!(tasks.iter().all(|task| numbering.record_of(task.row).index() % owners == owner));
                prop_assert!(tasks.iter().all(|task| task.due_ns >= now_ns));
                prop_assert!(tasks.is_sorted_by_key(|task| numbering.pass_of(task.row)));
                seen.extend(tasks);
            }
            let mut rows: Vec<u32> = seen.iter().map(|task| task.row.get()).collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..numbering.rows()).collect::<Vec<_>>());
        }
    }
}
