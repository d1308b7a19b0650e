//! Rendezvous hashing with bounded loads: the largest hosts are placed first, each on its highest-scoring worker that has capacity left
//! (after Mirrokni, Thorup and Zadimoghaddam 2018, "consistent hashing with bounded loads", with rows as weights).

use std::cmp::Reverse;

use super::assignment::Assignment;
use super::rendezvous::{Candidates, HostHash};
use crate::ids::WorkerId;

/// The bound as a fraction of the fair share: 5/4. A bound closer to 1 moves more hosts away from their highest-scoring worker.
const BOUND: (u128, u128) = (5, 4);

/// Keeps the bound if no host has more than a quarter of a fair share: some worker is then at or below its fair share, and so has capacity.
/// A larger host that fits nowhere goes to the least loaded worker. No case is known in which a different placement would have kept the
/// bound; a test searches for one.
pub(super) fn place(hosts: &[(HostHash, u64)], candidates: &Candidates, workers: &[WorkerId]) -> Assignment {
    let capacity = capacity(hosts, workers.len());
    let mut loads = vec![0u64; workers.len()];
    let mut worker_of_host = vec![0u32; hosts.len()];
    for position in largest_first(hosts) {
        let (host, rows) = hosts[position];
        let has_capacity = |worker: u32| loads[worker as usize].saturating_add(rows) <= capacity;
        let worker =
            candidates.best(host, has_capacity).unwrap_or_else(|| least_loaded(host, &loads, candidates));
        loads[worker as usize] = loads[worker as usize].saturating_add(rows);
        worker_of_host[position] = worker;
    }
    let mut assignment = Assignment::new(workers);
    for (worker, (_, rows)) in worker_of_host.into_iter().zip(hosts) {
        assignment.push(worker, *rows);
    }
    assignment
}

/// Returns the number of rows that a worker may have. Rounded down: with two hosts of one row per worker, each worker gets two, whereas
/// rounding 2.5 up would give three to some workers and none to others.
fn capacity(hosts: &[(HostHash, u64)], workers: usize) -> u64 {
    let rows: u128 = hosts.iter().map(|(_, rows)| u128::from(*rows)).sum();
    let capacity = rows * BOUND.0 / (workers.max(1) as u128 * BOUND.1);
    u64::try_from(capacity).unwrap_or(u64::MAX)
}

/// Orders hosts of equal size by their hashes, so that the order in the CSV does not matter.
fn largest_first(hosts: &[(HostHash, u64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    order.sort_unstable_by_key(|position| {
        let (host, rows) = hosts[*position];
        (Reverse(rows), host, *position)
    });
    order
}

fn least_loaded(host: HostHash, loads: &[u64], candidates: &Candidates) -> u32 {
    let least = loads.iter().min().copied().unwrap_or(0);
    let is_least = |worker: u32| loads[worker as usize] == least;
    candidates.best(host, is_least).expect("a run has at least one worker")
}
