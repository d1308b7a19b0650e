//! Exit codes, which are the same for all commands.

use std::process::ExitCode;

use muster_process::exit::Description;

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
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::Internal,
        Self::Usage,
        Self::ThresholdMissed,
        Self::Void,
        Self::Unaccounted,
        Self::AgentsLost,
        Self::QueriesFailed,
        Self::NotJoined,
        Self::CannotWrite,
        Self::Interrupted,
    ];

    pub const fn code(self) -> u8 {
        self.description().code
    }

    pub const fn description(self) -> Description {
        let (code, meaning, remedy) = match self {
            Self::Success => (
                0,
                "success: for a run, the verdict is VALID or DEGRADED",
                "Read the reasons below the verdict if it is DEGRADED.",
            ),
            Self::Internal => (
                1,
                "internal error",
                "Repeat the command with `MUSTER_LOG=debug` and report the output. `coordinator report RUN` shows what the run had counted.",
            ),
            Self::Usage => (
                2,
                "invalid usage, workload, query or database",
                "Correct what stderr names. Nothing was measured, unless the workload file changed during the run: then the report is partial.",
            ),
            Self::ThresholdMissed => (
                10,
                "threshold missed, no rate meets --slo, or slower (compare --fail-on-regression)",
                "Read the thresholds, the search or the comparison in the report. A threshold that the sample cannot decide is missed: run \
                 more rows.",
            ),
            Self::Void => (
                11,
                "verdict VOID: the load generator was the bottleneck",
                "Do not use the times. Follow the advice in the reasons and run again. `--allow-void` turns this code off.",
            ),
            Self::Unaccounted => (
                12,
                "rows unaccounted although the run completed",
                "The report lists these rows. A *quarantined* row was in flight when three agent processes died: run it alone to see why.",
            ),
            Self::AgentsLost => (
                13,
                "agents lost, and the run could not continue",
                "The report is partial. `coordinator run --resume RUN` runs the other rows. Start more agents than `--agents`: the extra \
                 ones replace lost ones.",
            ),
            Self::QueriesFailed => (
                14,
                "queries failed",
                "The report lists the errors. A threshold such as `--threshold 'failed<1%'` says how many queries may fail; then only it \
                 decides.",
            ),
            Self::NotJoined => (
                15,
                "agents did not join, or were not ready in time",
                "stderr names the missing slots. Start these agents, check the address and the join string, or wait longer with \
                 `--join-timeout`.",
            ),
            Self::CannotWrite => (
                74,
                "a report, a file or the journal cannot be written",
                "Make space, or correct the path. `coordinator report RUN` writes the reports of a stored run again; \
                 `coordinator run --resume RUN` continues one whose journal could not be written.",
            ),
            Self::Interrupted => (
                130,
                "interrupted by Ctrl-C or SIGTERM",
                "The report is partial. `coordinator run --resume RUN` runs the other rows.",
            ),
        };
        Description { code, meaning, remedy }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
