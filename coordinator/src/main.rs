//! `coordinator`: see `coordinator --help`.

use std::process::ExitCode;

use muster_coordinator::{cli, exit::Exit};

fn main() -> ExitCode {
    // Those of the runtime, and for the journal, a file and a name that are read meanwhile.
    let threads = 3 + std::thread::available_parallelism().map_or(1, usize::from);
    if let Err(error) = muster_agent::startup::check(threads) {
        return explain(&cli::Failure { exit: Exit::Usage, error: error.into() });
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return explain(&cli::Failure { exit: Exit::Internal, error: error.into() }),
    };
    let outcome = runtime.block_on(cli::run());
    // A thread that reads a standard input which never ends must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => explain(&failure),
    }
}

#[allow(clippy::print_stderr, reason = "the one place that tells the person why it failed")]
fn explain(failure: &cli::Failure) -> ExitCode {
    eprintln!("coordinator: {}", failure.sentence());
    failure.exit.into()
}
