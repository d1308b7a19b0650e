//! The real coordinator and the real agents over a simulated network, in virtual time: gRPC, conductor, journal and resume on one side,
//! session, crew, workers and results on the other. Simulated are the network, with all that breaks in it, the clock, and the
//! database. docs/FAULTS.md says more.
//!
//! One seed is one run. `MUSTER_NETWORKS=1000` runs that many, and `MUSTER_SEED=7` replays one, tells what happened, and logs as
//! `MUSTER_LOG` says.

mod checks;
mod coordinator;
mod coroutine;
mod database;
mod faults;
mod frames;
mod network;
#[path = "../../../common/tests/simulation/random.rs"]
#[allow(dead_code, reason = "the other simulation draws more kinds of numbers")]
mod random;
mod scenario;
mod tally;
mod tape;
mod workplace;
mod world;

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::Once;
use std::time::{Duration, Instant};

use coordinator::Ended;
use muster_common::result::Ending;
use scenario::Scenario;
use tally::Tally;
use tape::Recorded;
use world::{Backends, World};

/// What a plain `cargo test` runs.
const SEEDS: u64 = 60;
/// Of these, the first run twice.
const SEEDS_TWICE: u64 = 10;
/// With fewer, something may not come.
const SEEDS_ENOUGH: u64 = 60;
/// Short runs of a plain `cargo test`.
const SEEDS_SHORT: u64 = 100;
/// The time from the start of the first agent to the end of a run of 250 ms: joining, the countdown, and some round trips.
const SHORT_MAX: Duration = Duration::from_secs(3);
const WRONG_SHOWN: usize = 20;
const REPLAY: &str =
    "MUSTER_SEED=<seed> cargo test -p muster-coordinator --lib simulated_network::every_row -- --nocapture";

/// What one run came to.
struct Verdict {
    ended: Ended,
    recorded: Recorded,
    wrong: Vec<String>,
}

#[test]
fn every_row_is_counted_once_over_a_network_that_breaks() {
    if let Some(seed) = variable("MUSTER_SEED") {
        let verdict = replay(seed);
        return assert_eq!(verdict.wrong, Vec::<String>::new());
    }
    let seeds = variable("MUSTER_NETWORKS").unwrap_or(SEEDS);
    let began = Instant::now();
    let (tally, wrong) = run_all(seeds, Backends::Ended);
    println!("{seeds} runs in {:.1?}\n{tally}", began.elapsed());
    let shown = &wrong[..wrong.len().min(WRONG_SHOWN)];
    assert!(wrong.is_empty(), "{} went wrong:\n{}\nreplay: {REPLAY}", wrong.len(), shown.join("\n"));
    let missing = tally.missing();
    assert!(seeds < SEEDS_ENOUGH || missing.is_empty(), "these did not come: {missing:?}");
}

/// A coordinator that took a run up again had old backends ended before their agents' leases had lapsed; a query of an agent that knew
/// of nothing was counted as failed.
#[test]
fn a_run_that_goes_on_fails_no_query_whose_agent_knows_of_nothing() {
    assert_eq!(run(769, Backends::Ended).wrong, Vec::<String>::new(), "seed 769; replay: {REPLAY}");
}

/// An agent whose workers ended with rows left over waited for an acknowledgement that was never sent, and the run waited for its report.
#[test]
fn a_run_that_the_clock_ends_is_over_at_once() {
    for seed in 0..variable("MUSTER_NETWORKS").unwrap_or(SEEDS_SHORT) {
        let mut world = World::of(Scenario::short(seed), Backends::Ended);
        let ended = world.run();
        let took = world.elapsed();
        let is_complete = matches!(&ended, Ended::Reported(result) if result.ending == Ending::Completed);
        assert!(is_complete && took < SHORT_MAX, "seed {seed} took {took:?}: {ended:?}");
    }
}

#[test]
fn backends_that_nobody_ends_are_noticed() {
    let seeds = variable("MUSTER_NETWORKS").unwrap_or(SEEDS);
    let (_, wrong) = run_all(seeds, Backends::LeftAlone);
    println!("{} of {seeds} runs went wrong", wrong.len());
    assert!(wrong.iter().any(|what| what.contains(" begins in ")), "{wrong:?}");
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..variable("MUSTER_NETWORKS").unwrap_or(SEEDS_TWICE) {
        let [first, second] = [(); 2].map(|()| {
            let verdict = run(seed, Backends::Ended);
            let report = match verdict.ended {
                // Only these are of the machine's own clock.
                Ended::Reported(mut result) => {
                    (result.started_at, result.coordinator_health) = (None, None);
                    serde_json::to_string_pretty(&result).unwrap()
                }
                other => format!("{other:?}"),
            };
            (report, verdict.recorded)
        });
        assert!(first.1.bytes > 4_000, "seed {seed} is hardly a run: {} bytes", first.1.bytes);
        assert_eq!(first, second, "seed {seed} runs differently each time");
    }
}

fn run(seed: u64, backends: Backends) -> Verdict {
    watch_for_panics();
    PANICS.take();
    let mut world = World::of(Scenario::of(seed), backends);
    let ended = world.run();
    let site = world.site.clone();
    let mut wrong = checks::look(&site, &ended);
    drop(world);
    wrong.extend(PANICS.take());
    Verdict { ended, recorded: site.tape.recorded(), wrong }
}

fn replay(seed: u64) -> Verdict {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("MUSTER_LOG"))
        .without_time()
        .try_init();
    let verdict = run(seed, Backends::Ended);
    verdict.recorded.lines.iter().for_each(|line| println!("{line}"));
    match &verdict.ended {
        Ended::Reported(result) => {
            result.events.iter().for_each(|event| println!("{:>9.3} {}", event.at_ms / 1e3, event.what));
            println!("{:?}", result.queries);
        }
        other => println!("{other:?}"),
    }
    verdict
}

/// Runs seeds 0 to `count − 1`, on all cores. What went wrong, with its seed.
fn run_all(count: u64, backends: Backends) -> (Tally, Vec<String>) {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let run_share = |thread| {
        let mut tally = Tally::default();
        let mut wrong = Vec::new();
        for seed in (thread..count).step_by(threads) {
            let verdict = std::panic::catch_unwind(|| run(seed, backends));
            let verdict = verdict.unwrap_or_else(|_| panic!("seed {seed} panicked; replay: {REPLAY}"));
            tally.add(&verdict.ended);
            if let Some(first) = verdict.wrong.first() {
                wrong.push(format!("seed {seed}: {first} ({} more)", verdict.wrong.len() - 1));
            }
        }
        (tally, wrong)
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..threads as u64).map(|thread| scope.spawn(move || run_share(thread))).collect();
        let mut all = (Tally::default(), Vec::new());
        for share in shares {
            let (tally, wrong) = share.join().expect("a seed that panics was named");
            all.0.merge(&tally);
            all.1.extend(wrong);
        }
        all
    })
}

thread_local! {
    /// Of tasks, which tokio catches.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn watch_for_panics() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(format!("panicked: {panic}")));
            before(panic);
        }));
    });
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is '{text}', which is no number")))
}
