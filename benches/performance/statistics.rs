//! Exact percentiles of ten million times, and the sort of the standard library beside them. And what the percentiles cost that a person
//! sees while a run goes on: recording each time, and reading two quantiles ten times a second, as the keeper of the books does.

use std::fmt::Write;
use std::hint::black_box;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use muster_common::latency::{Samples, Summary};
use muster_common::random::SplitMix64;

use crate::SEED;
use crate::children::end;
use crate::figures::{middle, ms};
use crate::memory::peak_mb;
use crate::server::command;

/// The word that makes this program one round of a contender.
pub(crate) const WORD: &str = "samples";

const ROUNDS: usize = 5;
const COUNT: usize = 10_000_000;
/// Samples take four bytes, and eight more from 4.29 s.
const LONG_NS: u64 = 10_000_000_000;

pub(crate) fn section() -> String {
    let mut text = format!(
        "The middle of {ROUNDS} rounds of {COUNT} times around 1.4 ms, of one worker and of a thousand; each round is a process \
         of its own, and memory the most that it had beyond what it began with.\n\n\
         | workers | made and kept, ms | sorted and summed up, ms | memory, MB |\n|---|---|---|---|\n"
    );
    for (position, contender) in CONTENDERS.iter().enumerate() {
        let name = contender.name();
        let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::apart(position)).collect();
        let of = |figure: fn(&Round) -> f64| middle(&rounds.iter().map(figure).collect::<Vec<_>>());
        let (push, sort, memory) =
            (of(|round| ms(round.push)), of(|round| ms(round.sort)), of(|round| round.memory_mb));
        writeln!(text, "| {name} | {push:.0} | {sort:.0} | {memory:.0} |").unwrap();
    }
    text + &live()
}

/// `samples POSITION`: one round of this contender; prints what it took.
pub(crate) fn main(words: &[String]) {
    let [position] = words else { panic!("usage: {WORD} POSITION") };
    let Round { push, sort, memory_mb } = CONTENDERS[position.parse::<usize>().unwrap()].round();
    println!("{} {} {memory_mb}", push.as_nanos(), sort.as_nanos());
}

const CONTENDERS: [Contender; 4] =
    [Contender::Samples(1, 0), Contender::Samples(1_000, 0), Contender::Samples(1, 10_000), Contender::Plain];

enum Contender {
    /// Of so many workers, and how many short times there are for each long one; 0 for none.
    Samples(usize, usize),
    /// The least that could be done with the standard library.
    Plain,
}

impl Contender {
    fn name(&self) -> String {
        match self {
            Self::Samples(workers, 0) => format!("`Samples` of {workers}"),
            Self::Samples(workers, long) => format!("`Samples` of {workers}, one time in {long} is 10 s"),
            Self::Plain => "`Vec<u64>` and `sort_unstable`, only two quantiles".to_owned(),
        }
    }

    fn round(&self) -> Round {
        match *self {
            Self::Samples(workers, long) => samples(workers, long),
            Self::Plain => plain(),
        }
    }
}

struct Round {
    push: Duration,
    sort: Duration,
    memory_mb: f64,
}

impl Round {
    fn apart(position: usize) -> Self {
        let mut program = command(&std::env::current_exe().unwrap());
        let child = program.args([WORD, &position.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let told = end(child).stdout;
        let [push_ns, sort_ns, memory_mb] = told.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("a round told '{told}'")
        };
        let [push, sort] = [push_ns, sort_ns].map(|ns| Duration::from_nanos(ns.parse().unwrap()));
        Self { push, sort, memory_mb: memory_mb.parse().unwrap() }
    }
}

/// Every `long`th time is a long one, if any.
fn times(long: usize) -> impl Iterator<Item = u64> {
    let mut random = SplitMix64::new(SEED);
    (1..=COUNT).map(move |at| match at {
        at if long > 0 && at % long == 0 => LONG_NS,
        _ => 800_000 + (-(1.0 - random.unit()).ln() * 600_000.0) as u64,
    })
}

fn samples(workers: usize, long: usize) -> Round {
    let before = peak_mb();
    let mut kept: Vec<Samples> = (0..workers).map(|_| Samples::with_capacity(COUNT / workers)).collect();
    let start = Instant::now();
    for (at, time_ns) in times(long).enumerate() {
        kept[at % workers].push(time_ns);
    }
    let push = start.elapsed();
    let start = Instant::now();
    let sorted: Vec<_> = kept.into_iter().map(Samples::into_sorted).collect();
    black_box(Summary::of(&sorted));
    Round { push, sort: start.elapsed(), memory_mb: peak_mb() - before }
}

fn plain() -> Round {
    let before = peak_mb();
    let mut kept = Vec::with_capacity(COUNT);
    let start = Instant::now();
    kept.extend(times(0));
    let push = start.elapsed();
    let start = Instant::now();
    kept.sort_unstable();
    black_box([kept[COUNT / 2 - 1], kept[COUNT / 100 * 99 - 1]]);
    Round { push, sort: start.elapsed(), memory_mb: peak_mb() - before }
}

/// The histogram of the progress display, bounds and digits as in `coordinator/src/run/keeper.rs`.
fn live() -> String {
    const LOOKS: u32 = 1_000;
    const TICKS_PER_S: u32 = 10;
    const RATE_PER_S: f64 = 60_000.0;
    let mut seen = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    let all: Vec<u64> = times(0).collect();
    let start = Instant::now();
    all.iter().for_each(|time_ns| seen.saturating_record(*time_ns));
    let record = start.elapsed() / COUNT as u32;
    let start = Instant::now();
    for _ in 0..LOOKS {
        black_box([0.5, 0.95].map(|quantile| seen.value_at_quantile(quantile)));
    }
    let look = start.elapsed() / LOOKS;
    let share = record.as_secs_f64() * RATE_PER_S + look.as_secs_f64() * f64::from(TICKS_PER_S);
    format!(
        "\nWhile a run goes on: {:.1} ns for each time, {:.1} µs for both quantiles ten times a second: at {RATE_PER_S} queries a second \
         {:.3} % of one processor.\n",
        record.as_secs_f64() * 1e9,
        look.as_secs_f64() * 1e6,
        share * 100.0,
    )
}
