//! Which worker runs which host: rendezvous hashing, and a balanced form of it. Deterministic, whatever the order in which hosts and
//! workers come; a host is never divided. Knows names and numbers of rows; what a worker or a row is, is none of its business.

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

/// How hosts are given to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The worker with the highest score. Retiring or adding a worker moves the fewest hosts that can be; even only with many hosts.
    #[default]
    Rendezvous,
    /// The highest score among the workers that have room, so that the busiest has at most 1.25 times its fair share of the rows
    /// where whole hosts allow. A lost worker may move hosts of others.
    Balanced,
}

impl Method {
    pub const ALL: [Self; 2] = [Self::Rendezvous, Self::Balanced];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad`, not `write_str`: a name in a table may be given a width.
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
#[error("'{0}' is no way to place hosts: take rendezvous or balanced")]
pub struct UnknownMethod(String);

/// Places every host: its name and its number of rows. Positions in the answer are those of `hosts` and of `workers`.
///
/// # Panics
/// When there is a host, but no worker: a run has at least one.
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
