//! The `coordinator` binary. See `coordinator --help`.

use std::process::ExitCode;

use muster_coordinator::{cli, exit::Exit};

fn main() -> ExitCode {
    // The runtime's worker threads, and one thread each for the journal, a file being read, and a name lookup.
    let threads = 3 + std::thread::available_parallelism().map_or(1, usize::from);
    if let Err(error) = muster_process::startup::check(threads) {
        return print_error(&cli::Failure { exit: Exit::Usage, error: error.into() });
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print_error(&cli::Failure { exit: Exit::Internal, error: error.into() }),
    };
    let outcome = runtime.block_on(cli::run());
    // A thread that is blocked reading standard input must not keep the process from exiting.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => print_error(&failure),
    }
}

#[allow(clippy::print_stderr, reason = "the only place that prints why the command failed")]
fn print_error(failure: &cli::Failure) -> ExitCode {
    eprintln!("coordinator: {}", failure.message());
    failure.exit.into()
}
