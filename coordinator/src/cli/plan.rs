//! `coordinator plan`: shows how rows are assigned to workers, without connecting to a database.

use std::io::Write;
use std::sync::Arc;

use muster_core::ids::{SlotId, WorkerId};
use muster_core::placement;
use muster_process::logging::Terminal;
use tokio_util::sync::CancellationToken;

use muster_report::report::plan::{self, PlanTable, PlanWorker};
use muster_report::{json, text};

use super::args::PlanArgs;
use super::run::open_workload;
use super::{Failure, run_spec};
use crate::exit::Exit;
use crate::progress::ProgressDisplay;

pub(super) async fn run(args: PlanArgs, interrupt: CancellationToken) -> Result<Exit, Failure> {
    let statements = super::query::statements(&args.workload.query)?;
    let display = Arc::new(ProgressDisplay::new(Terminal::of_process().moves_cursor()));
    let (file, options) =
        (run_spec::file(&args.workload), run_spec::options(&args.workload, &statements, 0, None));
    let workload = open_workload(file, options, &display, &interrupt).await?;
    display.finish();
    let slots = (0..args.agents.agents).map(SlotId::new);
    let workers: Vec<WorkerId> =
        slots.flat_map(|slot| (0..args.workers).map(move |index| WorkerId::new(slot, index))).collect();
    let hosts = workload.hosts();
    let placed = hosts.iter().map(|(_, name, rows)| (name, rows.into()));
    let table = placement::place(args.workload.placement, placed, &workers).table();
    let plan = PlanTable {
        file: workload.file().to_owned(),
        rows: workload.rows().into(),
        hosts: hosts.len() as u64,
        method: args.workload.placement.to_string(),
        workers: table
            .workers
            .iter()
            .map(|load| PlanWorker { worker: load.worker.to_string(), hosts: load.hosts, rows: load.rows })
            .collect(),
        idle: table.idle,
        skew: table.skew,
    };
    let output = if args.json { json::render(&plan) } else { text::render(&plan::report(&plan)) };
    match std::io::stdout().lock().write_all(output.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::write(error)),
        _ => Ok(Exit::Success),
    }
}
