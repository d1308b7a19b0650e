//! Exit codes of the agent.

use std::process::ExitCode;

use muster_process::exit::Description;

/// How an agent ended, as its exit code reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    CannotServe,
    Lost,
}

impl Exit {
    pub const ALL: [Self; 3] = [Self::Success, Self::CannotServe, Self::Lost];

    pub const fn description(self) -> Description {
        match self {
            Self::Success => Description {
                code: 0,
                meaning: "stopped by SIGTERM or Ctrl-C, or with --once: the run is over",
                remedy: "Nothing. The exit code of the coordinator says how the run ended.",
            },
            Self::CannotServe => Description {
                code: 2,
                meaning: "invalid usage, refused by the coordinator, or a resource is missing",
                remedy: "Correct what the last line on stderr names: an option, the join string, the version of one of the programs, the \
                         address of `--metrics`, or a limit of the machine. Starting the agent again without a change has the same end.",
            },
            Self::Lost => Description {
                code: 13,
                meaning: "with --once: the coordinator was lost and did not return",
                remedy: "Start the agent again for the next run. `coordinator run --resume RUN` continues a run whose coordinator died.",
            },
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.description().code)
    }
}
