//! Rendezvous hashing (Thaler and Ravishankar 1998): every worker has a score for a host, and the highest score wins. Removing a worker
//! therefore moves only its own hosts, and a new worker takes hosts evenly from all others.
//!
//! Uses one SHA-256 per name and a cheap mix per pair: one SHA-256 per pair would take a minute for a million hosts on a thousand workers.

use sha2::{Digest, Sha256};

use crate::ids::WorkerId;

/// Domain separation: a host named like a worker has a different hash. A different layout requires a new version.
const HOST_DOMAIN: &str = "muster/host/v1";
const WORKER_DOMAIN: &str = "muster/worker/v1";

/// The part of a score that depends on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostHash(u64);

impl HostHash {
    pub(super) fn of(name: &str) -> Self {
        Self(hash(HOST_DOMAIN, name))
    }
}

/// The workers that hosts can be placed on.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// Sorted by worker id, so that ties go to the smaller id.
    by_id: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    hash: u64,
    /// Position in the given list of workers.
    position: u32,
}

impl Candidates {
    /// Positions in results refer to `workers`, which has at most 2³² entries.
    pub fn new(workers: &[WorkerId]) -> Self {
        let hashes = workers.iter().map(|worker| hash(WORKER_DOMAIN, &worker.to_string()));
        Self::from_hashes(workers, hashes)
    }

    pub(super) fn from_hashes(workers: &[WorkerId], hashes: impl Iterator<Item = u64>) -> Self {
        let mut by_id: Vec<Candidate> =
            (0u32..).zip(hashes).map(|(position, hash)| Candidate { hash, position }).collect();
        by_id.sort_by_key(|candidate| workers[candidate.position as usize]);
        Self { by_id }
    }

    /// Returns the position of the worker that owns this host.
    ///
    /// # Panics
    /// Panics if there are no workers.
    pub fn owner(&self, host: &str) -> u32 {
        self.owner_of(HostHash::of(host))
    }

    pub(super) fn owner_of(&self, host: HostHash) -> u32 {
        self.best(host, |_| true).expect("a run has at least one worker")
    }

    /// Returns the worker with the highest score among those with capacity; ties go to the smaller id. `None` if no worker has capacity.
    pub(super) fn best(&self, host: HostHash, has_capacity: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best: Option<(u64, u32)> = None;
        for candidate in &self.by_id {
            let score = mix(host.0 ^ candidate.hash);
            // Check the capacity last, because nearly all workers are ruled out by their score.
            if best.is_none_or(|(highest, _)| score > highest) && has_capacity(candidate.position) {
                best = Some((score, candidate.position));
            }
        }
        best.map(|(_, position)| position)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014, with the constants of Stafford's variant 13). It is a bijection: two workers
/// tie for a host only if their hashes are equal. It need not be cryptographic, because both inputs are.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the first eight bytes, big-endian, of SHA-256 over the domain and the name, each preceded by its length in eight bytes,
/// big-endian.
fn hash(domain: &str, name: &str) -> u64 {
    let mut sha256 = Sha256::new();
    for part in [domain, name] {
        sha256.update((part.len() as u64).to_be_bytes());
        sha256.update(part);
    }
    let digest = sha256.finalize();
    u64::from_be_bytes(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SlotId;

    #[test]
    fn ties_go_to_the_smaller_worker_id_in_any_order() {
        let workers =
            [(7, 0), (2, 1), (2, 0), (3, 0)].map(|(slot, index)| WorkerId::new(SlotId::new(slot), index));
        let tied = Candidates::from_hashes(&workers, [5, 5, 5, 5].into_iter());
        assert_eq!(tied.owner("any"), 2);
        assert_eq!(tied.best(HostHash(0), |position| position != 2), Some(1));
        assert_eq!(tied.best(HostHash(0), |_| false), None);
    }

    #[test]
    fn the_mix_matches_splitmix64() {
        // The first three numbers of SplitMix64 with seed 0; its state grows by the golden gamma.
        let gamma = 0x9e37_79b9_7f4a_7c15_u64;
        let numbers = [1, 2, 3].map(|n| mix(gamma.wrapping_mul(n)));
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn a_host_named_like_a_worker_has_a_different_hash() {
        assert_ne!(hash(HOST_DOMAIN, "slot-0/0"), hash(WORKER_DOMAIN, "slot-0/0"));
        // The length prefix separates the parts.
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
