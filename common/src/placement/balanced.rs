//! Rendezvous hashing with a bound: the largest hosts choose first, each the worker that it likes best among those with room
//! (after Mirrokni, Thorup and Zadimoghaddam 2018, "consistent hashing with bounded loads", with rows as weights).

use std::cmp::Reverse;

use super::assignment::Assignment;
use super::rendezvous::{Candidates, HostHash};
use crate::ids::WorkerId;

/// The bound as a fraction of the fair share: 5/4. Closer to 1, more hosts lose the worker of their choice.
const BOUND: (u128, u128) = (5, 4);

/// Keeps the bound whenever no host has more than a quarter of a fair share: some worker is then at or below its fair share, and so has
/// room. A larger host that fits nowhere goes to the least loaded worker; that some other division of the hosts would have kept the
/// bound was never seen, and a test looks for it.
pub(super) fn place(hosts: &[(HostHash, u64)], candidates: &Candidates, workers: &[WorkerId]) -> Assignment {
    let room = room(hosts, workers.len());
    let mut loads = vec![0u64; workers.len()];
    let mut worker_of_host = vec![0u32; hosts.len()];
    for position in largest_first(hosts) {
        let (host, rows) = hosts[position];
        let has_room = |worker: u32| loads[worker as usize].saturating_add(rows) <= room;
        let worker =
            candidates.best(host, has_room).unwrap_or_else(|| least_loaded(host, &loads, candidates));
        loads[worker as usize] = loads[worker as usize].saturating_add(rows);
        worker_of_host[position] = worker;
    }
    let mut assignment = Assignment::new(workers);
    for (worker, (_, rows)) in worker_of_host.into_iter().zip(hosts) {
        assignment.push(worker, *rows);
    }
    assignment
}

/// Rows that a worker may have. Rounded down: two hosts of one row for every worker leave each with two, where rounding up 2.5 would
/// give three to some and none to others.
fn room(hosts: &[(HostHash, u64)], workers: usize) -> u64 {
    let rows: u128 = hosts.iter().map(|(_, rows)| u128::from(*rows)).sum();
    let room = rows * BOUND.0 / (workers.max(1) as u128 * BOUND.1);
    u64::try_from(room).unwrap_or(u64::MAX)
}

/// Equal hosts by their hashes, so that the order of the CSV does not matter.
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
