//! Who is missing, who is late, and what to type.

use std::net::SocketAddr;

use muster_agent::listen::AcceptProblem;
use muster_common::ids::SlotId;

use super::{Conductor, RunError};

/// Where agents come in, and what they have to be told for it beside the address.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// `None` where no port is open.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) options: &'static str,
    pub(crate) problem: AcceptProblem,
}

impl Conductor<'_> {
    pub(super) fn who_is_missing(&self) -> String {
        let slots = self.roster.slots();
        let vacant = slots.vacant();
        if vacant.is_empty() {
            return format!("waiting for {} to connect and prepare", list(&slots.preparing()));
        }
        let (missing, wanted) = (vacant.len(), slots.count());
        format!("waiting for {missing} of {wanted} agents ({}){}", list(&vacant), self.how_to_start())
    }

    fn how_to_start(&self) -> String {
        let problem = self.door.problem.get().map(|problem| format!("; {problem}")).unwrap_or_default();
        let Some(address) = self.door.address.filter(|_| !self.plan.has_local_agents) else {
            return problem;
        };
        let address = match address.ip().is_unspecified() {
            true => format!("HOST:{}", address.port()),
            false => address.to_string(),
        };
        format!("{problem}; start each with: agent --coordinator {address}{}", self.door.options)
    }

    pub(super) fn who_is_late(&self, is_full: bool) -> RunError {
        let slots = self.roster.slots();
        if is_full {
            return RunError::NotReady { slots: list(&slots.preparing()) };
        }
        RunError::NotJoined {
            joined: slots.joined(),
            wanted: slots.count(),
            waited: self.plan.join_timeout,
            cure: self.how_to_start(),
        }
    }
}

/// `1 row`, `20 rows`.
pub(super) fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The first few slots by name.
pub(super) fn list(slots: &[SlotId]) -> String {
    const SHOWN: usize = 6;
    let mut names: Vec<String> = slots.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(last) = slots.last().filter(|_| slots.len() > SHOWN) {
        names.push(format!("… {last}"));
    }
    names.join(", ")
}
