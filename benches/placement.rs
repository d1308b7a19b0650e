//! How long it takes to place many hosts on many workers: `cargo bench -p muster-common --bench placement [HOSTS [WORKERS]]`,
//! one million on one thousand when not told otherwise. Plain wall time, as the figures differ by factors and not by percents.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

use std::time::Instant;

use muster_common::ids::{SlotId, WorkerId};
use muster_common::placement::{self, Method};

fn main() {
    // `cargo test --all-targets` runs this too, unoptimised and without `--bench`: there it is only to work.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let mut sizes = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let hosts: u32 = sizes.next().unwrap_or(if is_bench { 1_000_000 } else { 1_000 });
    let workers = sizes.next().and_then(|count| u16::try_from(count).ok()).unwrap_or(1_000);

    let names: Vec<String> = (0..hosts).map(|host| format!("host_{host:06}")).collect();
    let workers: Vec<WorkerId> = (0..workers).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
    measure("even rows", Method::Rendezvous, &names, |_| 10, &workers);
    measure("even rows", Method::Balanced, &names, |_| 10, &workers);
    // One host in a thousand has half of all rows: many workers are full early.
    measure(
        "uneven rows",
        Method::Balanced,
        &names,
        |host| if host % 1_000 == 0 { 10_000 } else { 10 },
        &workers,
    );
    // Few rows a worker: the bound is one row away from the fair share.
    let few = &names[..names.len().min(workers.len() * 2)];
    measure("2 hosts a worker", Method::Balanced, few, |_| 1, &workers);
}

fn measure(case: &str, method: Method, names: &[String], rows: impl Fn(usize) -> u64, workers: &[WorkerId]) {
    let start = Instant::now();
    let hosts = names.iter().enumerate().map(|(host, name)| (name.as_str(), rows(host)));
    let assignment = placement::place(method, hosts, workers);
    let took = start.elapsed();
    let table = assignment.table();
    println!(
        "{method:<10} {case:<16} {:>9} hosts × {:>5} workers: {took:>9.1?}, skew {:.3}, {} idle",
        names.len(),
        workers.len(),
        table.skew,
        table.idle
    );
}
