//! Which worker runs which host: rendezvous hashing, and a balanced variant of it. Pure and deterministic:
//! the same workers and hosts give the same placement, in whatever order they come.

mod assignment;
mod rendezvous;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use crate::ids::WorkerId;

pub use assignment::{Assignment, Load, Table};
pub use rendezvous::Candidates;
use rendezvous::HostHash;

/// How hosts are given to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The worker with the highest score. Even only with many hosts a worker.
    #[default]
    Rendezvous,
    /// The highest score among the workers that have room: at most 1.25 times the fair share of rows where whole hosts allow.
    Balanced,
}

/// The bound of [`Method::Balanced`], as a fraction: 5/4 of the fair share.
const BOUND: (u64, u64) = (5, 4);

/// Places every host. `hosts` are name and number of rows, `workers` at least one.
pub fn place<'a>(
    method: Method,
    hosts: impl IntoIterator<Item = (&'a str, u64)>,
    workers: &[WorkerId],
) -> Assignment {
    let candidates = Candidates::new(workers);
    let hosts: Vec<(HostHash, u64)> =
        hosts.into_iter().map(|(name, rows)| (HostHash::new(name), rows)).collect();
    let worker_of_host = match method {
        Method::Rendezvous => hosts.iter().map(|(hash, _)| candidates.owner_of(*hash)).collect(),
        Method::Balanced => balance(&hosts, &candidates),
    };
    Assignment::new(workers, worker_of_host, hosts.iter().map(|(_, rows)| *rows))
}

/// The largest hosts choose first. A host goes to its best worker with room; where none has any, to the least loaded.
fn balance(hosts: &[(HostHash, u64)], candidates: &Candidates) -> Vec<u32> {
    let total: u64 = hosts.iter().map(|(_, rows)| rows).sum();
    let workers = candidates.len() as u64;
    let room = (total * BOUND.0).div_ceil(workers * BOUND.1);
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    order.sort_unstable_by_key(|host| (Reverse(hosts[*host].1), hosts[*host].0));
    let mut rows_of_worker = vec![0u64; candidates.len()];
    let mut worker_of_host = vec![0; hosts.len()];
    for host in order {
        let (hash, rows) = hosts[host];
        let has_room = |worker: u32| rows_of_worker[worker as usize] + rows <= room;
        let chosen = candidates.best(hash, has_room).unwrap_or_else(|| {
            let least = rows_of_worker.iter().min().copied().unwrap_or(0);
            let is_least = |worker: u32| rows_of_worker[worker as usize] == least;
            candidates.best(hash, is_least).expect("some worker has the least rows")
        });
        rows_of_worker[chosen as usize] += rows;
        worker_of_host[host] = chosen;
    }
    worker_of_host
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rendezvous => "rendezvous",
            Self::Balanced => "balanced",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a placement; there are rendezvous and balanced")]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        match text {
            "rendezvous" => Ok(Self::Rendezvous),
            "balanced" => Ok(Self::Balanced),
            _ => Err(UnknownMethod(text.to_owned())),
        }
    }
}
