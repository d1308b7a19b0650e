//! The simulation: a coordinator, agents, a network and a database in virtual time, random faults, and the invariants of counting.
//!
//! The coordinator and the agents are thin glue around the state machines of `common`; docs/FAULTS.md says what is simulated. One seed
//! is one schedule. `MUSTER_SIMULATIONS=100000` runs more of them, `MUSTER_SEED=7` replays one and prints what happened.

mod agent;
mod checks;
mod coordinator;
mod database;
mod faults;
mod injection;
mod messages;
mod mutants;
mod network;
mod random;
mod scenario;
mod schedule;
mod session;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;

use crate::checks::{Invariant, Tally};
use crate::mutants::Mutant;
use crate::schedule::Verdict;

/// What a plain `cargo test` runs.
const SCHEDULES: u64 = 10_000;
const SCHEDULES_PER_MUTANT: u64 = 1_000;

#[test]
fn every_row_is_counted_once_whatever_breaks() {
    if let Some(seed) = variable("MUSTER_SEED") {
        return replay(seed, None);
    }
    let schedules = variable("MUSTER_SIMULATIONS").unwrap_or(SCHEDULES);
    let started = std::time::Instant::now();
    let verdicts = run_all(schedules, None);
    let mut endings = BTreeMap::new();
    let mut total = Tally::default();
    let mut wrong = Vec::new();
    for (seed, verdict) in verdicts {
        *endings.entry(format!("{:?}", verdict.ending)).or_insert(0) += 1;
        total.add(&verdict.tally);
        wrong.extend(verdict.violation.map(|violation| format!("seed {seed}: {violation}")));
    }
    println!("{schedules} schedules in {:?}: {endings:?}\n{total:?}", started.elapsed());
    assert!(
        wrong.is_empty(),
        "{} went wrong:\n{}\nreplay one: MUSTER_SEED=7 cargo test -p muster-common --test simulation every_row -- --nocapture",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn every_mechanism_that_is_taken_out_is_missed() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let mut by_invariant: BTreeMap<Invariant, u64> = BTreeMap::new();
        for (_, verdict) in run_all(SCHEDULES_PER_MUTANT, Some(mutant)) {
            if let Some(violation) = verdict.violation {
                *by_invariant.entry(violation.invariant).or_default() += 1;
            }
        }
        let caught: u64 = by_invariant.values().sum();
        println!("{mutant:45} {caught:5}  {by_invariant:?}");
        if caught == 0 {
            survivors.push(mutant);
        }
    }
    assert_eq!(survivors, [], "the simulation does not notice that these are missing");
}

fn replay(seed: u64, mutant: Option<Mutant>) {
    let verdict = schedule::run(seed, mutant, true);
    for line in &verdict.trace {
        println!("{line}");
    }
    println!("seed {seed}: {:?}, {:?}", verdict.ending, verdict.tally);
    if let Some(violation) = verdict.violation {
        panic!("{violation}");
    }
}

/// The schedules of seeds 0 to `count − 1`, on all cores.
fn run_all(count: u64, mutant: Option<Mutant>) -> Vec<(u64, Verdict)> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let mut verdicts: Vec<(u64, Verdict)> = std::thread::scope(|scope| {
        let seeds_of = |thread| (thread..count).step_by(threads as usize);
        let run = move |thread| seeds_of(thread).map(|seed| (seed, schedule::run(seed, mutant, false))).collect();
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || -> Vec<_> { run(thread) })).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a schedule does not panic")).collect()
    });
    verdicts.sort_by_key(|(seed, _)| *seed);
    verdicts
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
