//! Measures the figures of docs/internals/performance.md: the costs of Muster itself, and how they grow. Prints Markdown; `--write` also
//! writes each section into the page, between its markers. Run it with `just bench [SECTION…]`; the sections are the modules below.
//! The built programs run as processes, alternately with the programs that they are compared with.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "its report goes to stdout, and it may panic, as a test may"
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
mod swarm;
mod workload;

/// Random seed.
const SEED: u64 = 20_170_101;

/// A section's name, and the function that returns its text.
type Section = (&'static str, fn() -> String);

/// Sections in the order of the page; `just bench NAME` runs one.
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
    let requested: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &requested {
        let names = SECTIONS.map(|(name, _)| name);
        assert!(names.contains(&word.as_str()), "no section '{word}': the sections are {}", names.join(", "));
    }
    for (name, section) in SECTIONS {
        if requested.is_empty() || requested.iter().any(|word| word == name) {
            let load = figures::load_average();
            let text = format!("`just bench {name}`, load average before: {load}\n\n{}", section());
            println!("\n{text}");
            if is_written {
                page::write(name, &text);
            }
        }
    }
}
