//! How a run reacts to losses, and what agents may do in each of its phases.

use std::time::Duration;

use crate::spec::OnAgentLoss;

/// How the run reacts to losses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// A lost agent's slot waits this long for a replacement.
    pub(crate) slot_grace: Duration,
    pub(crate) on_agent_loss: OnAgentLoss,
    /// The time after which the server has ended each query. `None` without a statement timeout.
    pub(crate) queries_end_within: Option<Duration>,
}

/// What agents may do: join at first, run, report at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    WaitingForAgents,
    Running,
    Draining,
    /// Agents were sent Bye and disconnect.
    Dismissed,
}
