//! `coordinator`: see `coordinator --help`.

use std::process::ExitCode;

use muster_coordinator::{cli, exit::Exit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::start_logging();
    match cli::run().await {
        Ok(exit) => exit.into(),
        Err(cli::Failure { exit: Exit::Interrupted, .. }) => Exit::Interrupted.into(),
        Err(cli::Failure { exit, error }) => {
            #[allow(clippy::print_stderr, reason = "the one place that tells the person why it failed")]
            {
                eprintln!("coordinator: {error:#}");
            }
            exit.into()
        }
    }
}
