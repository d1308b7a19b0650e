//! What the controller does when the membership has decided.

use std::time::Duration;

use muster_core::ids::{Epoch, RowId, SlotId};
use muster_core::slots::Grant;

use super::member::{Loss, MemberId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The agent holds this slot now and is welcomed.
    Granted {
        member: MemberId,
        grant: Grant,
        was_standby: bool,
    },
    /// The agent waits for a slot.
    Waits {
        member: MemberId,
    },
    /// The agent waits for a slot and is prepared.
    StandsBy {
        member: MemberId,
    },
    /// The agent is prepared to run the rows of its slot.
    Ready {
        member: MemberId,
        grant: Grant,
    },
    /// The session's tasks end. A member that never ran a row is forgotten.
    Ended {
        member: MemberId,
        grant: Option<Grant>,
        is_forgotten: bool,
    },
    /// A session that held a slot was lost.
    Lost {
        grant: Grant,
        name: String,
        was_ready: bool,
        loss: Loss,
    },
    /// This process is alive, although sessions of it were lost.
    Returned {
        instance: u64,
    },
    /// The agent ends the backends that sessions of this slot with earlier epochs left in the database.
    EndBackends {
        member: MemberId,
        slot: SlotId,
        below: Epoch,
    },
    /// Backends were ended.
    BackendsEnded {
        slot: SlotId,
        ended: u32,
    },
    /// The agent could not end the backends. The slot's rows wait until the statement timeout has ended them, if there is one.
    BackendsUnknown {
        slot: SlotId,
        problem: String,
        wait: Option<Duration>,
    },
    /// A replacement begins to run the slot's rows.
    Begin {
        member: MemberId,
        grant: Grant,
    },
    /// The hosts of a slot that was given up move to the workers of these slots.
    Move {
        slot: SlotId,
        to: Vec<SlotId>,
    },
    /// These rows are given up, unless they are no longer suspects.
    Quarantine {
        rows: Vec<RowId>,
    },
    /// Shows which agents are missing.
    ShowMissing,
    End(EndReason),
}

/// Why losses end the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// A slot had no replacement within the grace period, and the policy is to fail.
    SlotLost,
    NoAgentLeft,
}
