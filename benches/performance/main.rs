//! The figures of docs/PERFORMANCE.md: what the harness itself costs, and how that grows. Prints Markdown; `--write` puts each section
//! into the page as well, between its marks. `just bench [SECTION…]`; the sections are the modules below.
//! The built programs are run as processes, in turns with their peers where there are any.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "its report goes to stdout, and it may fail aloud, as a test may"
)]

#[path = "../fidelity/bare.rs"]
mod bare;
mod bare_client;
mod children;
mod client;
#[path = "../figures.rs"]
mod figures;
mod journal;
mod machine;
mod memory;
mod null_run;
mod overhead;
mod page;
mod pipeline;
mod placement;
#[path = "../rows.rs"]
mod rows;
mod scale;
#[path = "../fidelity/server.rs"]
mod server;
mod start;
mod statistics;
#[path = "../../coordinator/tests/support/mod.rs"]
mod support;
mod swarm;
mod workload;

/// Everything that is left to chance follows from it.
const SEED: u64 = 20_170_101;

/// Its name, and what makes its text.
type Section = (&'static str, fn() -> String);

/// What a section's command is called with on the page: `just bench NAME`.
const SECTIONS: [Section; 10] = [
    ("machine", machine::section),
    ("client", client::section),
    ("overhead", overhead::section),
    ("pipeline", pipeline::section),
    ("scale", scale::section),
    ("workload", workload::section),
    ("placement", placement::section),
    ("journal", journal::section),
    ("statistics", statistics::section),
    ("start", start::section),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == bare_client::WORD) {
        return bare_client::main(&words[1..]);
    }
    if words.first().is_some_and(|word| word == swarm::WORD) {
        return swarm::main(&words[1..]);
    }
    if words.first().is_some_and(|word| word == statistics::WORD) {
        return statistics::main(&words[1..]);
    }
    let is_written = std::env::args().any(|word| word == "--write");
    // `cargo bench` adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &asked {
        let names = SECTIONS.map(|(name, _)| name);
        assert!(names.contains(&word.as_str()), "no section '{word}': there are {}", names.join(", "));
    }
    for (name, section) in SECTIONS {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            let load = figures::load_average();
            let text = format!("`just bench {name}`, load of the machine before: {load}\n\n{}", section());
            println!("\n{text}");
            if is_written {
                page::write(name, &text);
            }
        }
    }
}
