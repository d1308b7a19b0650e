//! `agent`: see `agent --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
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
