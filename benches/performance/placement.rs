//! The time to place hosts on workers: wall time of one thread, median of five rounds.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use muster_core::ids::{SlotId, WorkerId};
use muster_core::placement::{self, Method};

use crate::figures::{median, ms};

const ROUNDS: usize = 5;
const SIZES: [(u32, u16); 2] = [(10_000, 10), (1_000_000, 1_000)];
const METHODS: [(Method, &str); 2] = [(Method::Rendezvous, "rendezvous"), (Method::Balanced, "balanced")];

pub(crate) fn section() -> String {
    let mut text = "| hosts | workers | method | ms |\n|---|---|---|---|\n".to_owned();
    for (hosts, workers) in SIZES {
        let names: Vec<String> = (0..hosts).map(|host| format!("host_{host:06}")).collect();
        let ids: Vec<WorkerId> = (0..workers).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
        for (method, name) in METHODS {
            let took_ms: Vec<f64> = (0..ROUNDS).map(|_| place(method, &names, &ids)).collect();
            writeln!(text, "| {hosts} | {workers} | {name} | {:.1} |", median(&took_ms)).unwrap();
        }
    }
    text
}

/// Wall time of one placement in milliseconds, with ten rows per host.
fn place(method: Method, names: &[String], workers: &[WorkerId]) -> f64 {
    let start = Instant::now();
    let hosts = names.iter().map(|name| (name.as_str(), 10));
    black_box(placement::place(method, hosts, workers));
    ms(start.elapsed())
}
