//! Rendezvous hashing (Thaler and Ravishankar 1998): every worker has a score for a host, and the highest takes it. Retiring a worker
//! so moves only its own hosts, and a new worker takes hosts from all others alike.
//!
//! One SHA-256 per name and a cheap mix per pair: a SHA-256 per pair would take a minute for a million hosts on a thousand workers.

use sha2::{Digest, Sha256};

use crate::ids::WorkerId;

/// Different domains, so that a host named like a worker shares no hash with it. Another layout would be another version.
const HOST_DOMAIN: &str = "muster/host/v1";
const WORKER_DOMAIN: &str = "muster/worker/v1";

/// A host's half of every score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostHash(u64);

impl HostHash {
    pub(super) fn of(name: &str) -> Self {
        Self(hash(HOST_DOMAIN, name))
    }
}

/// The workers that hosts can go to.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// By worker id, so that the first of equal scores is the smaller id.
    by_id: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    hash: u64,
    /// Among the workers as they were given.
    position: u32,
}

impl Candidates {
    /// Positions in the answers are those in `workers`, at most 2³².
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

    /// The position of the worker that takes this host.
    ///
    /// # Panics
    /// Without a worker.
    pub fn owner(&self, host: &str) -> u32 {
        self.owner_of(HostHash::of(host))
    }

    pub(super) fn owner_of(&self, host: HostHash) -> u32 {
        self.best(host, |_| true).expect("a run has at least one worker")
    }

    /// The highest score among the workers with room, ties to the smaller id; `None` when no worker has any.
    pub(super) fn best(&self, host: HostHash, has_room: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best: Option<(u64, u32)> = None;
        for candidate in &self.by_id {
            let score = mix(host.0 ^ candidate.hash);
            // Room is asked for last: nearly all workers fail on their score.
            if best.is_none_or(|(highest, _)| score > highest) && has_room(candidate.position) {
                best = Some((score, candidate.position));
            }
        }
        best.map(|(_, position)| position)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014, with the constants of Stafford's variant 13). A bijection: two workers tie
/// for a host only when their own hashes are equal. It need not be cryptographic, as both of its inputs are.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first eight bytes, big-endian, of SHA-256 over the domain and the name, each behind its length in eight bytes, big-endian.
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
    fn ties_go_to_the_smaller_worker_id_wherever_it_stands() {
        let workers =
            [(7, 0), (2, 1), (2, 0), (3, 0)].map(|(slot, index)| WorkerId::new(SlotId::new(slot), index));
        let tied = Candidates::from_hashes(&workers, [5, 5, 5, 5].into_iter());
        assert_eq!(tied.owner("any"), 2);
        assert_eq!(tied.best(HostHash(0), |position| position != 2), Some(1));
        assert_eq!(tied.best(HostHash(0), |_| false), None);
    }

    #[test]
    fn the_mix_is_that_of_splitmix64() {
        // The first three numbers of SplitMix64 with seed 0; its state grows by the golden gamma.
        let gamma = 0x9e37_79b9_7f4a_7c15_u64;
        let numbers = [1, 2, 3].map(|n| mix(gamma.wrapping_mul(n)));
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn a_host_named_like_a_worker_has_a_hash_of_its_own() {
        assert_ne!(hash(HOST_DOMAIN, "slot-0/0"), hash(WORKER_DOMAIN, "slot-0/0"));
        // The length in front keeps the border between the parts.
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
    }
}
