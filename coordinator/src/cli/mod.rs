//! The command line interface. Arguments are validated and converted into configuration before a command starts.

mod access;
mod args;
mod compare;
mod database;
mod generate;
mod help;
mod live;
mod load;
mod migrate;
mod outcome;
mod plan;
mod query;
mod report;
mod result_file;
mod run;
mod run_spec;
mod run_store;
mod runs;
mod search;
mod signals;
mod token;
mod values;

use clap::{CommandFactory, Parser};

use crate::exit::Exit;
use args::{Args, Command};

/// The error and exit code of a failed command.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failure {
    /// The error and its causes, without causes that the message already contains.
    pub fn message(&self) -> String {
        let mut message = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if message.is_empty() {
                message = cause;
            } else if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        message
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

/// The definition of the command line, and the values that have a syntax of their own.
#[cfg(test)]
pub(crate) fn definition() -> (clap::Command, &'static [help::Value]) {
    (Args::command(), &help::VALUES)
}

/// Parses the command line and runs the command. On a usage error clap exits the process here.
pub async fn run() -> Result<Exit, Failure> {
    let args = Args::parse();
    muster_process::logging::start("warn", matches!(&args.command, Command::Run(run) if run.quiet));
    let (signals, interrupt, exit_now) = signals::watch().map_err(Failure::internal)?;
    let outcome = tokio::select! {
        outcome = dispatch(args.command, interrupt) => outcome,
        // On the second signal the running command is dropped, together with everything that it started.
        () = exit_now.cancelled() => Err(Failure::interrupted()),
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

/// Prints a line to stderr, because stdout contains only the report.
#[allow(clippy::print_stderr, reason = "for commands without a progress display")]
fn print_notice(line: &str) {
    eprintln!("{line}");
}
