//! Throughput of the whole pipeline without a database: rows are read, sent, completed immediately, returned, settled, journaled and
//! acknowledged. The coordinator and the agents share the machine's processors.

use std::fmt::Write;

use crate::figures::{ascending, quantile};
use crate::null_run::{Agents, HOSTS, Site, Took, Way};

const ROUNDS: usize = 5;
const ROWS: u32 = 4_000_000;
const AGENTS: Agents = Agents::Processes(2, 4);
const WAYS: [(Way, &str); 3] = [
    (Way::Plaintext, "plaintext, no journal"),
    (Way::PlaintextWithJournal, "plaintext, journal"),
    (Way::TlsWithJournal, "TLS, journal"),
];

pub(crate) fn section() -> String {
    let site = Site::new();
    let rows = site.rows(ROWS, HOSTS);
    let rounds: Vec<[Took; 3]> =
        (0..ROUNDS).map(|_| WAYS.map(|(way, _)| site.run(&rows, AGENTS, way))).collect();
    let mut text = format!(
        "{ROWS} rows of {HOSTS} hosts, 2 agents with 4 workers each; medians of {ROUNDS} rounds, with the minimum and the maximum in parentheses.\n\n\
         | | M rows/s | coordinator CPU per row, µs | agent CPU per row, µs | coordinator peak memory, MB |\n|---|---|---|---|---|\n"
    );
    for (position, (_, name)) in WAYS.iter().enumerate() {
        let cell = |of: fn(&Took) -> f64, digits: usize| {
            let all = ascending(rounds.iter().map(|round| of(&round[position])).collect());
            let [low, mid, high] = [0, 500, 1_000].map(|per_mille| quantile(&all, per_mille));
            format!("{mid:.digits$} ({low:.digits$} to {high:.digits$})")
        };
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            cell(|took| took.rows_per_s() / 1e6, 2),
            cell(Took::cpu_us_per_row, 2),
            cell(Took::agents_cpu_us_per_row, 2),
            cell(|took| took.coordinator.peak_mb, 0),
        )
        .unwrap();
    }
    text
}
