//! Every reported quantile against the fake's own clock: from the receipt of the query to the last byte of its answer. Beside it a
//! client that can do nothing wrong, in turn with Muster: where the machine is busy, both are woken late.

use muster_common::result::RunResult;

use super::bare;
use super::delays::Distribution;
use super::figures::{ascending, mean, middle, ms, quantile};
use super::support::fake_postgres::FakePostgres;
use super::support::programs::Run;
use super::support::record::{Execution, Record};

const ROWS: usize = 1_500;
const HOSTS: usize = 40;
const ROUNDS: usize = 3;
const AGENTS: [usize; 3] = [1, 4, 10];
const NAMES: [&str; 5] = ["median", "mean", "p90", "p95", "p99"];

type Figures = [f64; NAMES.len()];

/// One run: what the fake knows and what the client found, in milliseconds.
struct Round {
    truth: Figures,
    found: Figures,
}

impl Round {
    fn us(&self, figure: usize) -> f64 {
        (self.found[figure] - self.truth[figure]) * 1e3
    }

    /// 100 µs, or 1 % where that is more.
    fn mark_us(&self, figure: usize) -> f64 {
        (self.truth[figure] * 1e3 * 0.01).max(100.0)
    }

    fn met(&self) -> usize {
        (0..NAMES.len()).filter(|figure| self.us(*figure).abs() <= self.mark_us(*figure)).count()
    }
}

pub(crate) fn print() {
    println!(
        "Report minus truth in µs, in parentheses what the bare client found; each the middle of {ROUNDS} rounds.\n"
    );
    println!("| delays | agents | {} | worst of all rounds | marks met |", NAMES.join(" | "));
    println!("|---|---|{}---|---|", "---|".repeat(NAMES.len()));
    let [mut muster_met, mut bare_met, mut alike, mut all] = [0; 4];
    for distribution in Distribution::ALL {
        for agents in AGENTS {
            let rounds: Vec<[Round; 2]> = (0..ROUNDS).map(|_| round(distribution, agents)).collect();
            let middle_us = |figure: usize, side: usize| {
                middle(&rounds.iter().map(|round| round[side].us(figure)).collect::<Vec<_>>())
            };
            let cells: Vec<_> = (0..NAMES.len())
                .map(|figure| format!("{:+.0} ({:+.0})", middle_us(figure, 0), middle_us(figure, 1)))
                .collect();
            alike += (0..NAMES.len())
                .filter(|figure| {
                    (middle_us(*figure, 0) - middle_us(*figure, 1)).abs() <= rounds[0][0].mark_us(*figure)
                })
                .count();
            let met = |side: usize| rounds.iter().map(|round| round[side].met()).sum::<usize>();
            let count = ROUNDS * NAMES.len();
            println!(
                "| {} | {agents} | {} | {} | {} ({}) of {count} |",
                distribution.name(),
                cells.join(" | "),
                worst(&rounds),
                met(0),
                met(1),
            );
            (muster_met, bare_met, all) = (muster_met + met(0), bare_met + met(1), all + count);
        }
    }
    let pairs = all / ROUNDS;
    println!(
        "\nWithin 100 µs or 1 % of the truth: {muster_met} of {all} figures, of the bare client's {bare_met}."
    );
    println!("Muster and the bare client within 100 µs or 1 % of each other: {alike} of {pairs} figures.");
}

/// Muster, and the bare client.
fn round(distribution: Distribution, agents: usize) -> [Round; 2] {
    let rows = distribution.draw(ROWS).into_iter().enumerate();
    let rows: Vec<_> = rows.map(|(row, us)| (row % HOSTS, format!("{us}us"))).collect();
    let lines: Vec<_> = rows.iter().map(|(host, script)| format!("h{host},{script}")).collect();
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), &lines).with(&["--placement", "balanced"]);
    let report: RunResult = serde_json::from_str(&run.with_processes(agents, 1).stdout).unwrap();
    assert_eq!((report.queries.completed, report.agents.len()), (ROWS as u64, agents));
    let latency = report.service_time_ms.as_ref().unwrap();
    let supported =
        [latency.p90, latency.p95, latency.p99].map(|figure| figure.expect("1,500 rows are enough"));
    let found = [latency.median, latency.mean, supported[0], supported[1], supported[2]];
    let muster = Round { truth: truth(&fake.finish()), found };

    let fake = FakePostgres::start();
    let found = figures(bare::measure(&fake.url(), &rows, agents));
    [muster, Round { truth: truth(&fake.finish()), found }]
}

fn truth(record: &Record) -> Figures {
    figures(record.completed().map(Execution::at_least).map(ms).collect())
}

fn figures(times_ms: Vec<f64>) -> Figures {
    assert_eq!(times_ms.len(), ROWS);
    let mean = mean(&times_ms);
    let times_ms = ascending(times_ms);
    let at = |per_mille| quantile(&times_ms, per_mille);
    [at(500), mean, at(900), at(950), at(990)]
}

/// Of Muster's.
fn worst(rounds: &[[Round; 2]]) -> String {
    let figures = rounds.iter().flat_map(|[muster, _]| (0..NAMES.len()).map(move |figure| (muster, figure)));
    let of_mark = |(round, figure): &(&Round, usize)| round.us(*figure).abs() / round.mark_us(*figure);
    let (round, figure) = figures.max_by(|a, b| of_mark(a).total_cmp(&of_mark(b))).unwrap();
    let (us, truth_ms) = (round.us(figure), round.truth[figure]);
    format!("{} {us:+.0} µs of {truth_ms:.2} ms ({:+.1} %)", NAMES[figure], us / truth_ms / 10.0)
}
