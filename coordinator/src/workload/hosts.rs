//! Host names and their indices, in the order of first appearance, with the number of rows of each.
//! It knows nothing of workers: placement takes the names from here and answers with one worker per index.

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

/// Interned names. One buffer of text and an open-addressing table of numbers: 20 to 30 bytes a host beside its name, where a
/// `HashMap<String, u32>` and a `Vec<String>` take 100 and more; a workload may have as many hosts as rows.
#[derive(Debug, Clone)]
pub struct HostTable {
    names: String,
    /// Where each name ends in `names`.
    ends: Vec<usize>,
    rows: Vec<u32>,
    /// A power of two of places, at most half of them taken; `FREE` or an index.
    places: Vec<u32>,
    /// Keyed at random (SipHash), because the names come from outside.
    hashing: RandomState,
}

const FREE: u32 = u32::MAX;
const PLACES_FIRST: usize = 64;

impl Default for HostTable {
    fn default() -> Self {
        Self {
            names: String::new(),
            ends: Vec::new(),
            rows: Vec::new(),
            places: vec![FREE; PLACES_FIRST],
            hashing: RandomState::new(),
        }
    }
}

impl HostTable {
    /// Number of hosts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// # Panics
    /// When `host` comes from another table, as indexing does.
    pub fn name(&self, host: HostIndex) -> &str {
        let begin = match host.index().checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.names[begin..self.ends[host.index()]]
    }

    /// Rows of this host.
    ///
    /// # Panics
    /// When `host` comes from another table, as indexing does.
    pub fn rows(&self, host: HostIndex) -> u32 {
        self.rows[host.index()]
    }

    /// Every host with its name and its number of rows, in the order of indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (HostIndex, &str, u32)> {
        let mut begin = 0;
        self.ends.iter().zip(&self.rows).enumerate().map(move |(position, (&end, &rows))| {
            let name = &self.names[begin..end];
            begin = end;
            (HostIndex(position as u32), name, rows)
        })
    }

    /// The host of this name; bytes, so that a name read again from the file needs no check for UTF-8 first.
    pub fn find(&self, name: &[u8]) -> Option<HostIndex> {
        match self.places[self.place_of(name)] {
            FREE => None,
            index => Some(HostIndex(index)),
        }
    }

    /// The host of this name, added when it is new, with one more row. There are never more hosts than rows, and so never `FREE` of them.
    pub(super) fn count_row(&mut self, name: &str) -> HostIndex {
        let place = self.place_of(name.as_bytes());
        let found = self.places[place];
        if found != FREE {
            self.rows[found as usize] += 1;
            return HostIndex(found);
        }
        let index = u32::try_from(self.ends.len()).expect("rows are limited to ROWS_MAX");
        self.names.push_str(name);
        self.ends.push(self.names.len());
        self.rows.push(1);
        self.places[place] = index;
        if self.ends.len() * 2 > self.places.len() {
            self.grow();
        }
        HostIndex(index)
    }

    /// Adds a host with all of its rows, for a table that is put together again. False when there is such a host already, or when
    /// it has no name or no row, which no workload has.
    pub(crate) fn push(&mut self, name: &str, rows: u32) -> bool {
        let is_new = !name.is_empty() && rows > 0 && self.find(name.as_bytes()).is_none();
        if is_new {
            let host = self.count_row(name);
            self.rows[host.index()] = rows;
        }
        is_new
    }

    /// Gives back what growing left over.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.rows.shrink_to_fit();
    }

    /// Where the name is, or the free place where it belongs. Ends because half of the places are free.
    fn place_of(&self, name: &[u8]) -> usize {
        let mask = self.places.len() - 1;
        let mut place = self.hashing.hash_one(name) as usize & mask;
        while self.places[place] != FREE && self.name(HostIndex(self.places[place])).as_bytes() != name {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.places = vec![FREE; self.places.len() * 2];
        for index in 0..self.ends.len() {
            let place = self.place_of(self.name(HostIndex(index as u32)).as_bytes());
            self.places[place] = index as u32;
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
    fn many_hosts_are_all_found_again_and_no_others() {
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
