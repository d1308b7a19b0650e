//! Messages about agents that have not joined or are not ready, with the command that starts one.

use std::net::SocketAddr;

use muster_common::ids::SlotId;
use muster_net::listen::AcceptProblem;

use super::{RunController, RunError};

/// The address where agents connect, and the additional options that they need.
#[derive(Debug, Clone)]
pub(crate) struct ListenAddress {
    /// `None` if no port is open.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) options: &'static str,
    pub(crate) problem: AcceptProblem,
}

impl RunController<'_> {
    pub(super) fn missing_agents(&self) -> String {
        let slots = self.membership.slots();
        let vacant = slots.vacant();
        if vacant.is_empty() {
            return format!("waiting for {} to connect and prepare", list(&slots.preparing()));
        }
        let (missing, wanted) = (vacant.len(), slots.count());
        format!("waiting for {missing} of {wanted} agents ({}){}", list(&vacant), self.start_hint())
    }

    fn start_hint(&self) -> String {
        let problem =
            self.listen_address.problem.get().map(|problem| format!("; {problem}")).unwrap_or_default();
        let Some(address) = self.listen_address.address.filter(|_| !self.plan.has_local_agents) else {
            return problem;
        };
        let address = match address.ip().is_unspecified() {
            true => format!("HOST:{}", address.port()),
            false => address.to_string(),
        };
        format!("{problem}; start each with: agent --coordinator {address}{}", self.listen_address.options)
    }

    pub(super) fn timeout_error(&self, is_full: bool) -> RunError {
        let slots = self.membership.slots();
        if is_full {
            return RunError::NotReady { slots: list(&slots.preparing()) };
        }
        RunError::NotJoined {
            joined: slots.joined(),
            wanted: slots.count(),
            waited: self.plan.join_timeout,
            hint: self.start_hint(),
        }
    }
}

/// `1 row`, `20 rows`.
pub(super) fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The names of the first few slots.
pub(super) fn list(slots: &[SlotId]) -> String {
    const SHOWN: usize = 6;
    let mut names: Vec<String> = slots.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(last) = slots.last().filter(|_| slots.len() > SHOWN) {
        names.push(format!("… {last}"));
    }
    names.join(", ")
}
