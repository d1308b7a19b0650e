//! How cost, memory and start grow with rows and with agents. What a run costs before its first row and after its last one is measured by
//! runs of next to no rows, and told apart.

use std::fmt::Write;

use crate::figures::{ascending, middle};
use crate::null_run::{Agents, HOSTS, Site, Took, Way};

const PROCESSES: Agents = Agents::Processes(2, 4);
/// How many, and how often: the kernel counts processor time in hundredths of a second.
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
        let all: Vec<Took> = (0..times).map(|_| site.run(&path, PROCESSES, Way::ClearWithJournal)).collect();
        let cpu_us = all.iter().map(Took::cpu_us).sum::<f64>() / times as f64;
        let peak_mb = all.iter().map(|took| took.coordinator.peak_mb).fold(0.0, f64::max);
        (cpu_us, peak_mb)
    };
    let (fixed_us, fixed_mb) = run(FEW_ROWS);
    let mut text = format!(
        "Two agents with 4 workers each, in clear, with the journal. A run of {} rows takes {:.0} ms of the coordinator's CPU and {fixed_mb:.0} MB; \
         beyond that, a row takes:\n\n| rows | coordinator's CPU a row, µs | | peak memory, MB |\n|---|---|---|---|\n",
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
        "{ROWS_OF_SWARM} rows of {} hosts, in clear, with the journal; agents with one worker each in one process; the middle of {ROUNDS_OF_SWARM} \
         rounds. What it costs that agents join and leave is measured by runs of {} rows an agent.\n\n\
         | agents | coordinator's CPU a row, µs | | its CPU an agent, ms | peak memory, MB | first rows began within, ms | the report's start skew, ms |\n\
         |---|---|---|---|---|---|---|\n",
        10 * HOSTS,
        FEW_ROWS.0,
    );
    for count in AGENTS {
        let few = site.rows(FEW_ROWS.0 * u32::from(count), 10 * HOSTS);
        let round = || [&few, &many].map(|rows| site.run(rows, Agents::Swarm(count), Way::ClearWithJournal));
        let rounds: Vec<[Took; 2]> = (0..ROUNDS_OF_SWARM).map(|_| round()).collect();
        let of = |figure: fn(&Took, &Took) -> f64| {
            middle(&ascending(rounds.iter().map(|[few, many]| figure(few, many)).collect()))
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

/// A twentieth of a microsecond is a block.
fn bar(us: f64) -> String {
    "█".repeat((us * 20.0).round().max(0.0) as usize)
}
