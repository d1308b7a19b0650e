//! Rendezvous hashing (Thaler and Ravishankar, 1996): every worker has a score for a host, and the highest takes it.
//! Retiring a worker so moves only its own hosts, and a new one takes hosts from all others alike.
//!
//! One SHA-256 per host and one per worker name, combined by a fixed mix per pair: a SHA-256 per pair would take
//! a minute for a million hosts on a thousand workers.

use sha2::{Digest, Sha256};

use crate::ids::WorkerId;

/// A host's part of every score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostHash(u64);

impl HostHash {
    pub(super) fn new(name: &str) -> Self {
        Self(sha256_prefix(b"muster host", name))
    }
}

/// The workers that hosts can go to.
#[derive(Debug, Clone)]
pub struct Candidates {
    hashes: Vec<u64>,
    /// By position in `hashes`: the worker's place in the order of ids, which settles ties.
    ranks: Vec<usize>,
}

impl Candidates {
    /// At least one worker; positions in the answers are positions in `workers`.
    pub fn new(workers: &[WorkerId]) -> Self {
        let hashes = workers.iter().map(|id| sha256_prefix(b"muster worker", &id.to_string())).collect();
        let mut by_id: Vec<usize> = (0..workers.len()).collect();
        by_id.sort_unstable_by_key(|position| workers[*position]);
        let mut ranks = vec![0; workers.len()];
        for (rank, position) in by_id.into_iter().enumerate() {
            ranks[position] = rank;
        }
        Self { hashes, ranks }
    }

    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The position of the worker that takes this host.
    pub fn owner(&self, host: &str) -> u32 {
        self.owner_of(HostHash::new(host))
    }

    pub(super) fn owner_of(&self, host: HostHash) -> u32 {
        self.best(host, |_| true).expect("there is at least one worker")
    }

    /// The worker with the highest score among those that are `allowed`.
    pub(super) fn best(&self, host: HostHash, allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best: Option<(u64, u32)> = None;
        for (position, hash) in (0u32..).zip(&self.hashes) {
            let score = mix(host.0, *hash);
            let is_better = match best {
                None => true,
                Some((highest, _)) if score != highest => score > highest,
                Some((_, holder)) => self.ranks[position as usize] < self.ranks[holder as usize],
            };
            // Asked last: most workers lose on their score.
            if is_better && allowed(position) {
                best = Some((score, position));
            }
        }
        best.map(|(_, position)| position)
    }
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, 2014; constants by Stafford, variant 13) over the exclusive or of both hashes.
/// Both are SHA-256 prefixes, so neither is chosen freely by who names hosts or workers.
fn mix(host: u64, worker: u64) -> u64 {
    let mut z = host ^ worker;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first eight bytes, big-endian, of the SHA-256 over domain and name, each with its length before it.
fn sha256_prefix(domain: &[u8], name: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in [domain, name.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let prefix: [u8; 8] = digest[..8].try_into().expect("a SHA-256 has 32 bytes");
    u64::from_be_bytes(prefix)
}
