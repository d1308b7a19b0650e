//! `agent`: see `agent --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // One for a name to be looked up beside what is done here.
    if let Err(error) = muster_agent::startup::check(1) {
        return cannot_start(&error);
    }
    // One thread for what is not a query: a second would be woken beside it, and take a processor from the queries.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(&error),
    };
    let exit = runtime.block_on(cli::run());
    // A worker whose server does not answer must not hold the process.
    runtime.shutdown_background();
    exit
}

#[allow(clippy::print_stderr, reason = "logging has not begun")]
fn cannot_start(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("agent: cannot start: {error}");
    ExitCode::from(2)
}
