//! Every reported quantile against the fake's own clock: from the receipt of the query to the last byte of its answer.

use muster_common::result::{Latency, RunResult};

use super::delays::Distribution;
use super::figures::{ascending, mean, middle, ms, quantile};
use super::support::fake_postgres::FakePostgres;
use super::support::programs::Run;
use super::support::record::{Execution, Record};

const ROWS: usize = 2_000;
const HOSTS: usize = 40;
const ROUNDS: usize = 3;
const AGENTS: [usize; 3] = [1, 4, 10];

/// One figure of one run.
struct Deviation {
    name: &'static str,
    truth_ms: f64,
    reported_ms: f64,
}

impl Deviation {
    fn us(&self) -> f64 {
        (self.reported_ms - self.truth_ms) * 1e3
    }

    /// 1 is the mark: 100 µs, or 1 % where that is more.
    fn of_mark(&self) -> f64 {
        self.us().abs() / (self.truth_ms * 1e3 * 0.01).max(100.0)
    }
}

pub(crate) fn print() {
    println!(
        "| delays | agents | median: truth → report | p99: truth → report | worst figure of the middle round | of the worst round | marks met |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut met_all, mut all) = (0, 0);
    for distribution in Distribution::ALL {
        for agents in AGENTS {
            let rounds: Vec<Vec<Deviation>> = (0..ROUNDS).map(|_| round(distribution, agents)).collect();
            let worst: Vec<&Deviation> = rounds.iter().map(|figures| worst_of(figures)).collect();
            let marks: Vec<f64> = worst.iter().map(|one| one.of_mark()).collect();
            let at = marks.iter().position(|mark| *mark == middle(&marks)).unwrap();
            let last = worst.iter().max_by(|a, b| a.of_mark().total_cmp(&b.of_mark())).unwrap();
            let met = rounds.iter().flatten().filter(|figure| figure.of_mark() <= 1.0).count();
            let count = rounds.iter().flatten().count();
            (met_all, all) = (met_all + met, all + count);
            println!(
                "| {} | {agents} | {} | {} | {} | {} | {met} of {count} |",
                distribution.name(),
                pair(&rounds[at], "median"),
                pair(&rounds[at], "p99"),
                told(worst[at]),
                told(last),
            );
        }
    }
    println!("\n{met_all} of {all} figures within 100 µs or 1 % of the truth.");
}

fn round(distribution: Distribution, agents: usize) -> Vec<Deviation> {
    let fake = FakePostgres::start();
    let delays = distribution.draw(ROWS).into_iter().enumerate();
    let rows: Vec<_> = delays.map(|(row, us)| format!("h{},{us}us", row % HOSTS)).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced"]);
    let report: RunResult = serde_json::from_str(&run.with_processes(agents, 1).stdout).unwrap();
    let record = fake.finish();
    assert_eq!((report.queries.completed, report.agents.len()), (ROWS as u64, agents));
    deviations(&record, report.service_time_ms.as_ref().unwrap())
}

fn deviations(record: &Record, reported: &Latency) -> Vec<Deviation> {
    let truth = ascending(record.completed().map(Execution::at_least).map(ms).collect());
    let figure = |name, per_mille, reported_ms: Option<f64>| Deviation {
        name,
        truth_ms: quantile(&truth, per_mille),
        reported_ms: reported_ms.expect("the sample supports it"),
    };
    vec![
        figure("median", 500, Some(reported.median)),
        Deviation { name: "mean", truth_ms: mean(&truth), reported_ms: reported.mean },
        figure("p90", 900, reported.p90),
        figure("p95", 950, reported.p95),
        figure("p99", 990, reported.p99),
    ]
}

fn worst_of(figures: &[Deviation]) -> &Deviation {
    figures.iter().max_by(|a, b| a.of_mark().total_cmp(&b.of_mark())).unwrap()
}

fn pair(figures: &[Deviation], name: &str) -> String {
    let figure = figures.iter().find(|figure| figure.name == name).unwrap();
    format!("{:.3} → {:.3} ms", figure.truth_ms, figure.reported_ms)
}

fn told(figure: &Deviation) -> String {
    let percent = figure.us() / figure.truth_ms / 10.0;
    format!("{} {:+.0} µs ({percent:+.2} %)", figure.name, figure.us())
}
