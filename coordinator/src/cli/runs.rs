//! `coordinator runs`: lists stored runs with their progress.

use std::io::Write;

use jiff::Timestamp;
use muster_process::blocking::blocking;
use tokio_util::sync::CancellationToken;

use muster_report::text;

use super::Failure;
use super::args::RunsArgs;
use crate::exit::Exit;
use crate::output::runs;
use crate::run_dir;

pub(super) async fn run(args: RunsArgs, interrupt: CancellationToken) -> Result<Exit, Failure> {
    let parent = run_dir::parent(args.run_dir.as_deref()).map_err(Failure::usage)?;
    // Listing uses a separate thread, because it reads the whole journal of every killed run.
    let reading = blocking("list", {
        let parent = parent.clone();
        move || run_dir::list(&parent)
    });
    let listed = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        listed = reading => listed.map_err(Failure::internal)?.map_err(Failure::usage)?,
    };
    if listed.is_empty() {
        super::print_notice(&format!("there are no runs in '{}'", parent.display()));
        return Ok(Exit::Success);
    }
    let output = text::render(&runs::report(&parent, &listed, Timestamp::now()));
    match std::io::stdout().lock().write_all(output.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::write(error)),
        _ => Ok(Exit::Success),
    }
}
