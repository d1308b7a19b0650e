//! Simulates a coordinator, agents, a network and a database in virtual time, injects random faults, and checks the accounting of rows.
//!
//! The coordinator and the agents are thin glue around the state machines of `common`; docs/internals/faults.md lists what is simulated.
//! A seed determines a schedule. `MUSTER_SIMULATIONS=100000` sets the number of schedules, `MUSTER_SEED=7` replays one and prints its
//! trace, and `MUSTER_MUTANT="every result counts"` removes the named mechanism from the simulated system.

mod agent;
mod checks;
mod coordinator;
mod database;
mod faults;
mod injection;
mod invariants;
mod messages;
mod mutants;
mod network;
mod random;
mod scenario;
mod schedule;
mod session;
mod stories;
mod tally;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Instant;

use crate::invariants::{Invariant, Violation};
use crate::mutants::Mutant;
use crate::schedule::Verdict;
use crate::tally::{Counter, Tally};

/// The number of schedules that a plain `cargo test` runs.
const SCHEDULES: u64 = 10_000;
const SCHEDULES_PER_MUTANT: u64 = 1_000;
/// With fewer schedules, rare events may not occur.
const SCHEDULES_FOR_COVERAGE: u64 = 10_000;
const VIOLATIONS_SHOWN: usize = 20;
const REPLAY: &str =
    "MUSTER_SEED=<seed> cargo test -p muster-common --test simulation every_row -- --nocapture";

#[test]
fn every_row_is_counted_once_whatever_breaks() {
    if let Some(seed) = variable("MUSTER_SEED") {
        let verdict = replay(seed);
        verdict.trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed} ends with {:?}", verdict.ending);
        let violation = verdict.violation.map(|violation| violation.to_string());
        return assert_eq!(violation, None);
    }
    let schedules = variable("MUSTER_SIMULATIONS").unwrap_or(SCHEDULES);
    let started = Instant::now();
    let Summary { endings, tally, wrong } = run_all(schedules, None);
    println!("{schedules} schedules in {:.1?}: {endings:?}", started.elapsed());
    Counter::ALL.iter().for_each(|event| println!("{:>10} {event:?}", tally.of(*event)));
    let wrong: Vec<String> =
        wrong.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
    let shown = &wrong[..wrong.len().min(VIOLATIONS_SHOWN)];
    assert!(
        wrong.is_empty(),
        "{} schedules violate an invariant:\n{}\nreplay: {REPLAY}",
        wrong.len(),
        shown.join("\n")
    );
    let never: Vec<Counter> = Counter::ALL.into_iter().filter(|event| tally.of(*event) == 0).collect();
    assert!(schedules < SCHEDULES_FOR_COVERAGE || never.is_empty(), "the simulation never reaches {never:?}");
}

#[test]
fn every_mechanism_is_necessary() {
    let schedules = variable("MUSTER_SIMULATIONS").unwrap_or(SCHEDULES_PER_MUTANT);
    println!("| removed mechanism | failing schedules of {schedules} | most often violated |\n|---|---|---|");
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let mut by_invariant: BTreeMap<Invariant, u64> = BTreeMap::new();
        for (_, violation) in run_all(schedules, Some(mutant)).wrong {
            *by_invariant.entry(violation.invariant).or_default() += 1;
        }
        let wrong: u64 = by_invariant.values().sum();
        match by_invariant.into_iter().max_by_key(|(_, count)| *count) {
            Some((invariant, count)) => println!("| {mutant} | {wrong} | {invariant} ({count}) |"),
            None => survivors.push(mutant),
        }
    }
    assert_eq!(survivors, [], "the simulation does not detect that these are missing");
}

#[test]
fn a_seed_determines_the_schedule() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| schedule::run(seed, None, true).trace);
        assert!(first.len() > 100, "seed {seed} has a short trace");
        assert_eq!(first, second, "seed {seed} runs differently each time");
    }
}

fn replay(seed: u64) -> Verdict {
    let name = std::env::var("MUSTER_MUTANT").ok();
    let mutant = name.map(|name| {
        let named = Mutant::ALL.into_iter().find(|mutant| mutant.to_string() == name);
        named.unwrap_or_else(|| panic!("unknown mutant '{name}'"))
    });
    schedule::run(seed, mutant, true)
}

/// The totals of many schedules.
#[derive(Default)]
struct Summary {
    endings: BTreeMap<String, u64>,
    tally: Tally,
    wrong: Vec<(u64, Violation)>,
}

impl Summary {
    fn add(&mut self, seed: u64, verdict: Verdict) {
        let Verdict { violation, ending, tally, trace: _ } = verdict;
        let ending = ending.map_or("violated".to_owned(), |ending| format!("{ending:?}"));
        *self.endings.entry(ending).or_default() += 1;
        self.tally.merge(&tally);
        self.wrong.extend(violation.map(|violation| (seed, violation)));
    }

    fn merge(mut self, other: Self) -> Self {
        let Self { endings, tally, wrong } = other;
        for (ending, count) in endings {
            *self.endings.entry(ending).or_default() += count;
        }
        self.tally.merge(&tally);
        self.wrong.extend(wrong);
        self
    }
}

/// Runs the schedules of seeds 0 to `count − 1` on all cores.
fn run_all(count: u64, mutant: Option<Mutant>) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let run_share = |thread| {
        let mut summary = Summary::default();
        for seed in (thread..count).step_by(threads) {
            let verdict = std::panic::catch_unwind(|| schedule::run(seed, mutant, false));
            summary.add(seed, verdict.unwrap_or_else(|_| panic!("seed {seed} panicked; replay: {REPLAY}")));
        }
        summary
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..threads as u64).map(|thread| scope.spawn(move || run_share(thread))).collect();
        let summaries = shares.into_iter().map(|share| share.join().expect("a seed that panics was named"));
        summaries.fold(Summary::default(), Summary::merge)
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is '{text}', which is not a number")))
}
