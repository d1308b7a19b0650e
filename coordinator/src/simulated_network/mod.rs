//! Runs the real coordinator and the real agents over a simulated network, in virtual time: gRPC, controller, journal and resume on one
//! side, session, worker set, workers and results on the other. The network and its faults, the clock and the database are simulated.
//! docs/internals/faults.md describes the simulation.
//!
//! A seed determines a run completely. `MUSTER_SEEDS=1000` runs that many seeds. `MUSTER_SEED=7` replays one seed and prints its events;
//! `MUSTER_LOG` sets the log filter of a replay.

mod checks;
mod combinations;
mod coordinator;
mod coroutine;
mod database;
mod driver;
mod faults;
mod frames;
mod history;
mod invariants;
mod mutants;
mod network;
mod random;
mod scenario;
mod site;
mod tally;
mod tape;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Once;
use std::time::{Duration, Instant};

use muster_report::result::Ending;

use invariants::{Invariant, Violation};
use scenario::Scenario;
use site::Backends;
use site::Ended;
use tally::Tally;
use tape::Recorded;
use world::World;

/// The number of seeds that a plain `cargo test` runs. With fewer seeds, some kinds of faults may not occur.
const SEEDS: u64 = 100;
/// The number of seeds that are run without terminating old backends.
const SEEDS_NOT_ENDED: u64 = 20;
/// The number of seeds that are run twice and compared.
const SEEDS_TWICE: u64 = 10;
/// The number of short runs of a plain `cargo test`.
const SEEDS_SHORT: u64 = 100;
/// The time from the start of the first agent to the end of a run of 250 ms: joining, the countdown, and some round trips.
const SHORT_MAX: Duration = Duration::from_secs(3);
const FAILED_SHOWN: usize = 20;
const REPLAY: &str =
    "MUSTER_SEED=<seed> cargo test -p muster-coordinator --lib simulated_network::every_row -- --nocapture";

/// The outcome of one run.
struct Checked {
    ended: Ended,
    recorded: Recorded,
    /// The number of results that counted after the loss of their session.
    counted_late: u64,
    violations: Vec<Violation>,
}

/// The outcome of many runs: the events, and the violations of each seed that failed.
#[derive(Default)]
struct Totals {
    tally: Tally,
    failed: BTreeMap<u64, Vec<Violation>>,
}

/// The words in the message of a failed test between the number of runs and the violated invariants.
const FAILED: &str = " runs failed: ";
/// The beginning of the message if no run failed, but the runs do not cover everything.
const NEVER: &str = "these events never occurred: ";

#[test]
fn every_row_is_counted_once_over_a_faulty_network() {
    if let Some(seed) = variable("MUSTER_SEED") {
        return assert_eq!(replay(seed).violations, []);
    }
    let seeds = variable("MUSTER_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let totals = run_all(seeds, Backends::Ended);
    println!("{seeds} runs in {:.1?}\n{}", began.elapsed(), totals.tally);
    assert!(totals.failed.is_empty(), "{}\nreplay: {REPLAY}", totals.describe_failed(seeds));
    let missing = totals.tally.missing();
    assert!(seeds < SEEDS || missing.is_empty(), "{NEVER}{missing:?}");
}

/// Regression test: a coordinator that resumed a run had old backends terminated before the leases of their agents had expired, so a
/// query of an agent that had noticed nothing was counted as failed. This seed fails if the coordinator does not wait for the leases.
#[test]
fn a_resumed_run_does_not_fail_queries_of_agents_with_a_valid_lease() {
    assert_eq!(run(952, Backends::Ended).violations, [], "seed 952; replay: {REPLAY}");
}

/// Regression test: an agent whose workers ended with rows left over waited for an acknowledgement that was never sent, and the run waited
/// for that agent's report.
#[test]
fn a_run_ended_by_its_duration_finishes_at_once() {
    for seed in 0..variable("MUSTER_SEEDS").unwrap_or(SEEDS_SHORT) {
        let mut world = World::of(Scenario::short(seed), Backends::Ended);
        let ended = world.run();
        let took = world.elapsed();
        let is_complete = matches!(&ended, Ended::Reported(result) if result.ending == Ending::Completed);
        assert!(is_complete && took < SHORT_MAX, "seed {seed} took {took:?}: {ended:?}");
    }
}

#[test]
fn backends_that_are_not_terminated_are_detected() {
    let seeds = variable("MUSTER_SEEDS").unwrap_or(SEEDS_NOT_ENDED);
    let totals = run_all(seeds, Backends::NotEnded);
    println!("{}", totals.describe_failed(seeds));
    let detected =
        |violation: &Violation| matches!(violation.invariant, Invariant::OneSession | Invariant::OneQuery);
    assert!(totals.failed.values().flatten().any(detected));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..variable("MUSTER_SEEDS").unwrap_or(SEEDS_TWICE) {
        let [first, second] = [(); 2].map(|()| {
            let checked = run(seed, Backends::Ended);
            let report = match checked.ended {
                // Only these fields depend on the machine's real clock.
                Ended::Reported(mut result) => {
                    (result.started_at, result.coordinator_health) = (None, None);
                    serde_json::to_string_pretty(&result).unwrap()
                }
                other => format!("{other:?}"),
            };
            (report, checked.recorded)
        });
        assert!(first.1.bytes > 4_000, "seed {seed} transferred only {} bytes", first.1.bytes);
        assert_eq!(first, second, "two runs of seed {seed} differ");
    }
}

fn run(seed: u64, backends: Backends) -> Checked {
    record_panics();
    PANICS.take();
    let mut world = World::of(Scenario::of(seed), backends);
    let ended = world.run();
    let site = world.site.clone();
    let (mut violations, counted_late) = checks::check(&site, &ended);
    drop(world);
    violations.extend(PANICS.take().into_iter().map(|panic| Violation::new(Invariant::RunEnds, panic)));
    Checked { ended, recorded: site.tape.recorded(), counted_late, violations }
}

fn replay(seed: u64) -> Checked {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("MUSTER_LOG"))
        .without_time()
        .try_init();
    let checked = run(seed, Backends::Ended);
    checked.recorded.lines.iter().for_each(|line| println!("{line}"));
    match &checked.ended {
        Ended::Reported(result) => {
            result.events.iter().for_each(|event| println!("{:>9.3} {}", event.at_ms / 1e3, event.what));
            println!("{:?}", result.queries);
        }
        other => println!("{other:?}"),
    }
    checked
}

/// Runs seeds 0 to `count − 1` on all cores.
fn run_all(count: u64, backends: Backends) -> Totals {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let run_share = |thread| {
        let mut totals = Totals::default();
        for seed in (thread..count).step_by(threads) {
            match std::panic::catch_unwind(|| run(seed, backends)) {
                Ok(Checked { ended, counted_late, violations, recorded: _ }) => {
                    totals.tally.add(&ended, counted_late);
                    if !violations.is_empty() {
                        totals.failed.insert(seed, violations);
                    }
                }
                Err(_) => {
                    drop(totals.failed.insert(seed, vec![Violation::new(Invariant::RunEnds, "panicked")]))
                }
            }
        }
        totals
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..threads as u64).map(|thread| scope.spawn(move || run_share(thread))).collect();
        let mut all = Totals::default();
        for share in shares {
            let Totals { tally, failed } = share.join().expect("panics of a run are caught");
            all.tally.merge(&tally);
            all.failed.extend(failed);
        }
        all
    })
}

impl Totals {
    /// Describes the failed runs by their first violations.
    fn describe_failed(&self, seeds: u64) -> String {
        let first = self.failed.iter().map(|(seed, violations)| (seed, &violations[0], violations.len() - 1));
        let mut by_invariant: BTreeMap<Invariant, u64> = BTreeMap::new();
        first
            .clone()
            .for_each(|(_, violation, _)| *by_invariant.entry(violation.invariant).or_default() += 1);
        let mut invariants: Vec<_> = by_invariant.into_iter().collect();
        invariants.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let invariants: Vec<_> =
            invariants.iter().map(|(invariant, count)| format!("{invariant} ({count})")).collect();
        let shown = first
            .take(FAILED_SHOWN)
            .map(|(seed, violation, more)| format!("\nseed {seed}: {violation} ({more} more)"));
        format!(
            "{} of {seeds}{FAILED}{}{}",
            self.failed.len(),
            invariants.join(", "),
            shown.collect::<String>()
        )
    }
}

thread_local! {
    /// Panics of tasks in this thread, which tokio catches.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn record_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(format!("panicked: {panic}")));
            before(panic);
        }));
    });
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is '{text}', which is not a number")))
}
