//! Texts of messages and events about agents, with the command that starts one.

use std::net::SocketAddr;

use muster_core::ids::SlotId;
use muster_core::slots::Slots;
use muster_net::listen::AcceptProblem;

/// The address where agents connect, and the additional options that they need.
#[derive(Debug, Clone)]
pub(crate) struct ListenAddress {
    /// `None` if the user does not have to start agents.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) options: &'static str,
    pub(crate) problem: AcceptProblem,
}

impl ListenAddress {
    /// Which agents have not joined or are not ready.
    pub(super) fn missing_agents(&self, slots: &Slots) -> String {
        let vacant = slots.vacant();
        if vacant.is_empty() {
            return format!("waiting for {} to connect and prepare", list(&slots.preparing()));
        }
        let (missing, wanted) = (vacant.len(), slots.count());
        format!("waiting for {missing} of {wanted} agents ({}){}", list(&vacant), self.start_hint())
    }

    pub(super) fn start_hint(&self) -> String {
        let problem = self.problem.get().map(|problem| format!("; {problem}")).unwrap_or_default();
        let Some(address) = self.address else { return problem };
        let address = match address.ip().is_unspecified() {
            true => format!("HOST:{}", address.port()),
            false => address.to_string(),
        };
        format!("{problem}; start each with: agent --coordinator {address}{}", self.options)
    }
}

/// `1 row`, `20 rows`.
pub(super) fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// `slot-0 joined: db1/4711, 2 workers`.
pub(super) fn joined(slot: SlotId, name: &str, workers: u16) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    format!("{slot} joined: {name}, {workers} worker{plural}")
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
