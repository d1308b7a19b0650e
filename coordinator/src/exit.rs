//! Exit codes, which are the same for all commands.

use std::process::ExitCode;

/// The result of a command, as its exit code reports it to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    Internal,
    /// A usage error, an invalid workload, or a statement or database that cannot be used.
    Usage,
    /// A requested condition does not hold: a threshold was missed or cannot be evaluated, no rate met the objective of a rate search, or a
    /// comparison found the new run slower.
    ThresholdMissed,
    /// The verdict is VOID: the load generator was the bottleneck.
    Void,
    /// Some rows have no result although no agent was lost.
    Unaccounted,
    AgentsLost,
    QueriesFailed,
    NotJoined,
    CannotWrite,
    Interrupted,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::ThresholdMissed => 10,
            Self::Void => 11,
            Self::Unaccounted => 12,
            Self::AgentsLost => 13,
            Self::QueriesFailed => 14,
            Self::NotJoined => 15,
            Self::CannotWrite => 74,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
