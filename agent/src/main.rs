//! `agent`: see `agent --help`.

use std::process::ExitCode;

use muster_agent::cli;
use muster_agent::exit::Exit;

fn main() -> ExitCode {
    // This thread needs one more, which resolves host names.
    if let Err(error) = muster_process::startup::check(1) {
        return cannot_start(&error);
    }
    // A single-threaded runtime for everything except queries: further threads would take CPU time from the workers.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(&error),
    };
    let exit = runtime.block_on(cli::run());
    // Do not wait for a worker whose server does not answer.
    runtime.shutdown_background();
    exit.into()
}

#[allow(clippy::print_stderr, reason = "logging has not begun")]
fn cannot_start(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("agent: cannot start: {error}");
    Exit::CannotServe.into()
}
