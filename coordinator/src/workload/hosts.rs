//! Host names and their indices, in the order of first appearance, and the number of rows of each host.
//! This module does not depend on workers: placement takes the names from here and returns one worker per index.

use std::hash::{BuildHasher, RandomState};

/// A host's number in the [`HostTable`]: its position in the order of first appearance, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIndex(u32);

impl HostIndex {
    pub const fn new(position: u32) -> Self {
        Self(position)
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// The position as an index into per-host arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Interned names: one text buffer and an open-addressing hash table of indices. It takes 20 to 30 bytes per host in addition to the name;
/// a `HashMap<String, u32>` and a `Vec<String>` would take more than 100. A workload may have as many hosts as rows.
#[derive(Debug, Clone)]
pub struct HostTable {
    names: String,
    /// The end of each name in `names`.
    ends: Vec<usize>,
    rows: Vec<u32>,
    /// The hash table: each bucket is `EMPTY` or a host index. The length is a power of two, and at most half of the buckets are used.
    buckets: Vec<u32>,
    /// Randomly keyed (SipHash), because the names are untrusted input.
    hashing: RandomState,
}

const EMPTY: u32 = u32::MAX;
const BUCKETS_INITIAL: usize = 64;

impl Default for HostTable {
    fn default() -> Self {
        Self {
            names: String::new(),
            ends: Vec::new(),
            rows: Vec::new(),
            buckets: vec![EMPTY; BUCKETS_INITIAL],
            hashing: RandomState::new(),
        }
    }
}

impl HostTable {
    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name of a host.
    ///
    /// # Panics
    /// Panics when `host` is not in this table.
    pub fn name(&self, host: HostIndex) -> &str {
        let begin = match host.index().checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.names[begin..self.ends[host.index()]]
    }

    /// The number of rows of a host.
    ///
    /// # Panics
    /// Panics when `host` is not in this table.
    pub fn rows(&self, host: HostIndex) -> u32 {
        self.rows[host.index()]
    }

    /// Every host with its name and its number of rows, in index order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (HostIndex, &str, u32)> {
        let mut begin = 0;
        self.ends.iter().zip(&self.rows).enumerate().map(move |(position, (&end, &rows))| {
            let name = &self.names[begin..end];
            begin = end;
            (HostIndex(position as u32), name, rows)
        })
    }

    /// Finds a host by its name. Takes bytes, so that a name that was read again from the file needs no UTF-8 check.
    pub fn find(&self, name: &[u8]) -> Option<HostIndex> {
        match self.buckets[self.bucket_of(name)] {
            EMPTY => None,
            index => Some(HostIndex(index)),
        }
    }

    /// Counts one more row of the named host and adds the host if it is new. There are at most as many hosts as rows, and therefore fewer
    /// than `EMPTY`.
    pub(super) fn count_row(&mut self, name: &str) -> HostIndex {
        let bucket = self.bucket_of(name.as_bytes());
        let found = self.buckets[bucket];
        if found != EMPTY {
            self.rows[found as usize] += 1;
            return HostIndex(found);
        }
        let index = u32::try_from(self.ends.len()).expect("rows are limited to ROWS_MAX");
        self.names.push_str(name);
        self.ends.push(self.names.len());
        self.rows.push(1);
        self.buckets[bucket] = index;
        if self.ends.len() * 2 > self.buckets.len() {
            self.grow();
        }
        HostIndex(index)
    }

    /// Adds a host with its number of rows, when a table is rebuilt. Returns false when the host exists already, and when its name is empty
    /// or it has no rows, neither of which occurs in a workload.
    pub(crate) fn push(&mut self, name: &str, rows: u32) -> bool {
        let is_new = !name.is_empty() && rows > 0 && self.find(name.as_bytes()).is_none();
        if is_new {
            let host = self.count_row(name);
            self.rows[host.index()] = rows;
        }
        is_new
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.rows.shrink_to_fit();
    }

    /// The bucket that has the name, or the empty bucket where it belongs. Terminates because at least half of the buckets are empty.
    fn bucket_of(&self, name: &[u8]) -> usize {
        let mask = self.buckets.len() - 1;
        let mut bucket = self.hashing.hash_one(name) as usize & mask;
        while self.buckets[bucket] != EMPTY && self.name(HostIndex(self.buckets[bucket])).as_bytes() != name {
            bucket = (bucket + 1) & mask;
        }
        bucket
    }

    fn grow(&mut self) {
        self.buckets = vec![EMPTY; self.buckets.len() * 2];
        for index in 0..self.ends.len() {
            let bucket = self.bucket_of(self.name(HostIndex(index as u32)).as_bytes());
            self.buckets[bucket] = index as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_first_appearance_and_rows_are_counted() {
        let mut hosts = HostTable::default();
        for name in ["b", "a", "b", "c", "b"] {
            hosts.count_row(name);
        }
        let all: Vec<_> = hosts.iter().map(|(index, name, rows)| (index.get(), name, rows)).collect();
        assert_eq!(all, [(0, "b", 3), (1, "a", 1), (2, "c", 1)]);
        assert_eq!(hosts.rows(HostIndex::new(0)), 3);
    }

    #[test]
    fn all_of_many_hosts_are_found_and_no_others() {
        let mut hosts = HostTable::default();
        for number in 0..5_000 {
            hosts.count_row(&format!("host_{number}"));
        }
        hosts.shrink();
        for number in 0..5_000 {
            let name = format!("host_{number}");
            let found = hosts.find(name.as_bytes()).unwrap();
            assert_eq!((found.get(), hosts.name(found)), (number, name.as_str()));
        }
        assert_eq!(hosts.find(b"host_5000"), None);
        assert_eq!(hosts.find(b"host_"), None);
        assert_eq!(hosts.find(b""), None);
    }
}
