//! How CPU cost, memory and start time grow with the number of rows and of agents. The fixed cost of a run, before its first row and after
//! its last one, is measured with runs of very few rows and reported separately.

use std::fmt::Write;

use crate::figures::{ascending, median};
use crate::null_run::{Agents, HOSTS, Site, Took, Way};

const PROCESSES: Agents = Agents::Processes(2, 4);
/// Number of rows, and of runs: the kernel counts CPU time in steps of 10 ms, so short runs are repeated.
const ROWS: [(u32, usize); 4] = [(10_000, 20), (100_000, 10), (1_000_000, 3), (10_000_000, 1)];
const FEW_ROWS: (u32, usize) = (16, 20);
const AGENTS: [u16; 5] = [1, 10, 100, 1_000, 2_000];
const ROWS_OF_SWARM: u32 = 1_000_000;
const ROUNDS_OF_SWARM: usize = 3;

pub(crate) fn section() -> String {
    let site = Site::new();
    rows(&site) + "\n" + &agents(&site)
}

fn rows(site: &Site) -> String {
    let run = |(rows, times): (u32, usize)| {
        let path = site.rows(rows, HOSTS);
        let all: Vec<Took> =
            (0..times).map(|_| site.run(&path, PROCESSES, Way::PlaintextWithJournal)).collect();
        let cpu_us = all.iter().map(Took::cpu_us).sum::<f64>() / times as f64;
        let peak_mb = all.iter().map(|took| took.coordinator.peak_mb).fold(0.0, f64::max);
        (cpu_us, peak_mb)
    };
    let (fixed_us, fixed_mb) = run(FEW_ROWS);
    let mut text = format!(
        "Two agents with 4 workers each, plaintext, with the journal. A run of {} rows takes {:.0} ms of the coordinator's CPU and {fixed_mb:.0} MB. \
         The additional cost per row is:\n\n| rows | coordinator CPU per row, µs | | peak memory, MB |\n|---|---|---|---|\n",
        FEW_ROWS.0,
        fixed_us / 1e3,
    );
    for (rows, times) in ROWS {
        let (cpu_us, peak_mb) = run((rows, times));
        let per_row = (cpu_us - fixed_us) / f64::from(rows);
        writeln!(text, "| {rows} | {per_row:.2} | {} | {peak_mb:.0} |", bar(per_row)).unwrap();
    }
    text
}

fn agents(site: &Site) -> String {
    let many = site.rows(ROWS_OF_SWARM, 10 * HOSTS);
    let mut text = format!(
        "{ROWS_OF_SWARM} rows of {} hosts, plaintext, with the journal; agents with one worker each in one process; median of {ROUNDS_OF_SWARM} \
         rounds. The cost of joining and leaving is measured with runs of {} rows per agent.\n\n\
         | agents | coordinator CPU per row, µs | | coordinator CPU per agent, ms | peak memory, MB | spread of first rows, ms | reported start skew, ms |\n\
         |---|---|---|---|---|---|---|\n",
        10 * HOSTS,
        FEW_ROWS.0,
    );
    for count in AGENTS {
        let few = site.rows(FEW_ROWS.0 * u32::from(count), 10 * HOSTS);
        let round =
            || [&few, &many].map(|rows| site.run(rows, Agents::Swarm(count), Way::PlaintextWithJournal));
        let rounds: Vec<[Took; 2]> = (0..ROUNDS_OF_SWARM).map(|_| round()).collect();
        let of = |figure: fn(&Took, &Took) -> f64| {
            median(&ascending(rounds.iter().map(|[few, many]| figure(few, many)).collect()))
        };
        let per_row = of(|few, many| {
            let rows = many.report.queries.total - few.report.queries.total;
            (many.cpu_us() - few.cpu_us()) / rows as f64
        });
        let per_agent = of(|few, _| few.cpu_us() / 1e3 / few.report.agents.len() as f64);
        let peak_mb = of(|_, many| many.coordinator.peak_mb);
        let spread_ms = of(|_, many| many.spread_ms.unwrap());
        let skew_ms = of(|_, many| many.report.start_skew_ms.unwrap_or_default());
        writeln!(
            text,
            "| {count} | {per_row:.2} | {} | {per_agent:.2} | {peak_mb:.0} | {spread_ms:.1} | {skew_ms:.1} |",
            bar(per_row)
        )
        .unwrap();
    }
    text
}

/// A bar with one block for each 0.05 µs.
fn bar(us: f64) -> String {
    "█".repeat((us * 20.0).round().max(0.0) as usize)
}
