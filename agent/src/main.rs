//! `agent`: see `agent --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // One thread for what is not a query: a second would be woken beside it, and take a processor from the queries.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "logging has not begun")]
            {
                eprintln!("agent: cannot start: {error}");
            }
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli::run());
    // A worker whose server does not answer must not hold the process.
    runtime.shutdown_background();
    exit
}
