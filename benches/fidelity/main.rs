//! The figures of docs/FIDELITY.md: the built programs against a truth that is known beforehand. Prints Markdown.
//! `just fidelity [SECTION…]`; the sections are the modules below. Takes ten minutes, all of them together.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "its report goes to stdout, and it may fail aloud, as a test may"
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
#[path = "../../coordinator/tests/support/mod.rs"]
mod support;

/// Everything that is left to chance follows from it.
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
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &asked {
        let names = SECTIONS.map(|(name, _)| name);
        assert!(names.contains(&word.as_str()), "no section '{word}': there are {}", names.join(", "));
    }
    for (name, print) in SECTIONS {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            println!("\n`just fidelity {name}`, load of the machine before: {}\n", figures::load_average());
            print();
        }
    }
}
