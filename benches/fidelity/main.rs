//! Measures the figures of docs/internals/fidelity.md: compares what the built programs report with values that are known in advance.
//! Prints Markdown. Run it with `just fidelity [SECTION…]`; the sections are the modules below. All of them together take ten minutes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "its report goes to stdout, and it may panic, as a test may"
)]

mod bare;
mod delays;
mod due;
#[path = "../figures.rs"]
mod figures;
mod healthy;
mod pause;
mod pgbench;
mod quantiles;
mod queue;
mod same;
mod server;
mod stall;

/// Random seed.
const SEED: u64 = 20_170_101;

const SECTIONS: [(&str, fn()); 8] = [
    ("quantiles", quantiles::print),
    ("stall", stall::print),
    ("pause", pause::print),
    ("queue", queue::print),
    ("due", due::print),
    ("pgbench", pgbench::print),
    ("same", same::print),
    ("healthy", healthy::print),
];

fn main() {
    // `cargo bench` adds `--bench`.
    let requested: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &requested {
        let names = SECTIONS.map(|(name, _)| name);
        assert!(names.contains(&word.as_str()), "no section '{word}': the sections are {}", names.join(", "));
    }
    for (name, print) in SECTIONS {
        if requested.is_empty() || requested.iter().any(|word| word == name) {
            println!("\n`just fidelity {name}`, load average before: {}\n", figures::load_average());
            print();
        }
    }
}
