//! What was typed, and the command it means. `Args` are checked and turned into plain configuration before anything starts.

mod access;
mod args;
mod compare;
mod database;
mod generate;
mod job;
mod keeping;
mod load;
mod migrate;
mod outcome;
mod plan;
mod query;
mod report;
mod run;
mod runs;
mod search;
mod signals;
mod token;

use clap::{CommandFactory, Parser};

use crate::exit::Exit;
use args::{Args, Command};

/// A command that could not do its work: what to tell the person, and the code to leave with.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failure {
    /// The error and its causes, without those that it has told already.
    pub fn sentence(&self) -> String {
        let mut sentence = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if sentence.is_empty() {
                sentence = cause;
            } else if !sentence.contains(&cause) {
                sentence = format!("{sentence}: {cause}");
            }
        }
        sentence
    }

    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }

    fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Internal, error: error.into() }
    }

    fn write(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::CannotWrite, error: error.into() }
    }

    fn interrupted() -> Self {
        Self { exit: Exit::Interrupted, error: anyhow::anyhow!("interrupted") }
    }
}

/// Parses the command line and does what it says. A usage error leaves the process from here, as clap does it.
pub async fn run() -> Result<Exit, Failure> {
    let args = Args::parse();
    muster_agent::logging::start("warn", matches!(&args.command, Command::Run(run) if run.quiet));
    let (signals, interrupt, leave) = signals::watch().map_err(Failure::internal)?;
    let outcome = tokio::select! {
        outcome = dispatch(args.command, interrupt) => outcome,
        // The second signal: everything that is running is dropped, and with it what it started.
        () = leave.cancelled() => Err(Failure::interrupted()),
    };
    signals.abort();
    outcome
}

async fn dispatch(command: Command, interrupt: tokio_util::sync::CancellationToken) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(*args, interrupt).await,
        Command::Plan(args) => plan::run(args, interrupt).await,
        Command::Migrate(args) => migrate::run(args, interrupt).await,
        Command::Generate(args) => generate::run(args, &interrupt),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Runs(args) => runs::run(args, interrupt).await,
        Command::Completions { shell } => {
            let mut command = Args::command();
            clap_complete::generate(shell, &mut command, "coordinator", &mut std::io::stdout());
            Ok(Exit::Success)
        }
    }
}

/// A line for the person, on stderr: stdout is the report's alone.
#[allow(clippy::print_stderr, reason = "commands without a progress display speak here")]
fn say(line: &str) {
    eprintln!("{line}");
}
