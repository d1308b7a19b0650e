//! Decides which worker runs which host: rendezvous hashing, and a balanced variant. Deterministic and independent of the order of hosts
//! and workers; the rows of a host are never split. Works only on host names, worker ids and row counts.

mod assignment;
mod balanced;
mod rendezvous;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::WorkerId;

pub use assignment::{Assignment, Load, Table};
pub use rendezvous::Candidates;
use rendezvous::HostHash;

/// The method that assigns hosts to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Chooses the worker with the highest score. Adding or removing a worker moves as few hosts as possible. The load is even only with
    /// many hosts.
    #[default]
    Rendezvous,
    /// Chooses the highest score among workers below a capacity, so that the busiest worker has at most 1.25 times its fair share of the
    /// rows if whole hosts permit. Losing a worker may move hosts of other workers, too.
    Balanced,
}

impl Method {
    pub const ALL: [Self; 2] = [Self::Rendezvous, Self::Balanced];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` rather than `write_str`, so that a format width applies in tables.
        f.pad(match self {
            Self::Rendezvous => "rendezvous",
            Self::Balanced => "balanced",
        })
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let named = Self::ALL.into_iter().find(|method| method.to_string() == text);
        named.ok_or_else(|| UnknownMethod(text.to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown placement '{0}': use rendezvous or balanced")]
pub struct UnknownMethod(String);

/// Places every host, given as its name and its number of rows. Positions in the result refer to `hosts` and `workers`.
///
/// # Panics
/// Panics if there is a host but no worker.
pub fn place<'a>(
    method: Method,
    hosts: impl IntoIterator<Item = (&'a str, u64)>,
    workers: &[WorkerId],
) -> Assignment {
    let candidates = Candidates::new(workers);
    let hosts = hosts.into_iter().map(|(name, rows)| (HostHash::of(name), rows));
    match method {
        Method::Rendezvous => {
            let mut assignment = Assignment::new(workers);
            for (host, rows) in hosts {
                assignment.push(candidates.owner_of(host), rows);
            }
            assignment
        }
        Method::Balanced => balanced::place(&hosts.collect::<Vec<_>>(), &candidates, workers),
    }
}
