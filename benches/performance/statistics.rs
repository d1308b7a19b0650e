//! The cost of exact percentiles of ten million times, compared with the standard library's sort. Also the cost of the percentiles of the
//! progress display during a run: recording each time, and reading two quantiles ten times per second.

use std::fmt::Write;
use std::hint::black_box;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use muster_stats::latency::{Samples, Summary};
use muster_stats::random::SplitMix64;

use crate::SEED;
use crate::children::end;
use crate::figures::{median, ms};
use crate::memory::peak_mb;
use crate::server::command;

/// The argument that runs one round of a contender.
pub(crate) const WORD: &str = "samples";

const ROUNDS: usize = 5;
const COUNT: usize = 10_000_000;
/// A sample takes four bytes, and eight more if it is 4.29 s or longer.
const LONG_NS: u64 = 10_000_000_000;

pub(crate) fn section() -> String {
    let mut text = format!(
        "Median of {ROUNDS} rounds of {COUNT} times around 1.4 ms, from one worker and from a thousand. Each round is a separate \
         process; memory is its peak above the start of the round.\n\n\
         | samples | record, ms | sort and summarize, ms | memory, MB |\n|---|---|---|---|\n"
    );
    for (position, contender) in CONTENDERS.iter().enumerate() {
        let name = contender.name();
        let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::in_new_process(position)).collect();
        let of = |figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        let (push, sort, memory) =
            (of(|round| ms(round.push)), of(|round| ms(round.sort)), of(|round| round.memory_mb));
        writeln!(text, "| {name} | {push:.0} | {sort:.0} | {memory:.0} |").unwrap();
    }
    text + &live()
}

/// `samples POSITION`: runs one round of this contender and prints its times and memory.
pub(crate) fn main(words: &[String]) {
    let [position] = words else { panic!("usage: {WORD} POSITION") };
    let Round { push, sort, memory_mb } = CONTENDERS[position.parse::<usize>().unwrap()].round();
    println!("{} {} {memory_mb}", push.as_nanos(), sort.as_nanos());
}

const CONTENDERS: [Contender; 4] =
    [Contender::Samples(1, 0), Contender::Samples(1_000, 0), Contender::Samples(1, 10_000), Contender::Plain];

enum Contender {
    /// Number of workers, and the interval between long times; 0 for none.
    Samples(usize, usize),
    /// The minimum with the standard library.
    Plain,
}

impl Contender {
    fn name(&self) -> String {
        match self {
            Self::Samples(workers, 0) => format!("`Samples`, workers: {workers}"),
            Self::Samples(workers, long) => {
                format!("`Samples`, workers: {workers}, one time in {long} is 10 s")
            }
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
    fn in_new_process(position: usize) -> Self {
        let mut program = command(&std::env::current_exe().unwrap());
        let child = program.args([WORD, &position.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let output = end(child).stdout;
        let [push_ns, sort_ns, memory_mb] = output.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("unexpected output of a round: '{output}'")
        };
        let [push, sort] = [push_ns, sort_ns].map(|ns| Duration::from_nanos(ns.parse().unwrap()));
        Self { push, sort, memory_mb: memory_mb.parse().unwrap() }
    }
}

/// Service times in ns; every `long`th is [`LONG_NS`], none if `long` is 0.
fn times(long: usize) -> impl Iterator<Item = u64> {
    let mut random = SplitMix64::new(SEED);
    (1..=COUNT).map(move |at| match at {
        at if long > 0 && at % long == 0 => LONG_NS,
        _ => 800_000 + (-(1.0 - random.unit()).ln() * 600_000.0) as u64,
    })
}

fn samples(workers: usize, long: usize) -> Round {
    let before = peak_mb();
    let mut samples: Vec<Samples> = (0..workers).map(|_| Samples::with_capacity(COUNT / workers)).collect();
    let start = Instant::now();
    for (at, time_ns) in times(long).enumerate() {
        samples[at % workers].push(time_ns);
    }
    let push = start.elapsed();
    let start = Instant::now();
    let sorted: Vec<_> = samples.into_iter().map(Samples::into_sorted).collect();
    black_box(Summary::of(&sorted));
    Round { push, sort: start.elapsed(), memory_mb: peak_mb() - before }
}

fn plain() -> Round {
    let before = peak_mb();
    let mut values = Vec::with_capacity(COUNT);
    let start = Instant::now();
    values.extend(times(0));
    let push = start.elapsed();
    let start = Instant::now();
    values.sort_unstable();
    black_box([values[COUNT / 2 - 1], values[COUNT / 100 * 99 - 1]]);
    Round { push, sort: start.elapsed(), memory_mb: peak_mb() - before }
}

/// The histogram of the progress display, bounds and digits as in `coordinator/src/run/keeper.rs`.
fn live() -> String {
    const READS: u32 = 1_000;
    const TICKS_PER_S: u32 = 10;
    const RATE_PER_S: f64 = 60_000.0;
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
    let all: Vec<u64> = times(0).collect();
    let start = Instant::now();
    all.iter().for_each(|time_ns| histogram.saturating_record(*time_ns));
    let record = start.elapsed() / COUNT as u32;
    let start = Instant::now();
    for _ in 0..READS {
        black_box([0.5, 0.95].map(|quantile| histogram.value_at_quantile(quantile)));
    }
    let read = start.elapsed() / READS;
    let share = record.as_secs_f64() * RATE_PER_S + read.as_secs_f64() * f64::from(TICKS_PER_S);
    format!(
        "\nProgress display: {:.1} ns to record a time, {:.1} µs to read both quantiles ten times per second. At {RATE_PER_S} queries per second this \
         is {:.3} % of one processor.\n",
        record.as_secs_f64() * 1e9,
        read.as_secs_f64() * 1e6,
        share * 100.0,
    )
}
