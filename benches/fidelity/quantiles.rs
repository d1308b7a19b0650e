//! Compares every reported quantile with the fake server's own clock, which runs from the receipt of the query to the last byte of its
//! result. A minimal client runs alternately with Muster for comparison: on a busy machine both wake with a delay.

use muster_report::result::RunResult;

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::fake_postgres::{Execution, Record};
use muster_testing::scripted_run::Run;

use super::bare;
use super::delays::Distribution;
use super::figures::{ascending, mean, median, ms, quantile};

const ROWS: usize = 1_500;
const HOSTS: usize = 40;
const ROUNDS: usize = 3;
const AGENTS: [usize; 3] = [1, 4, 10];
const NAMES: [&str; 5] = ["median", "mean", "p90", "p95", "p99"];

type Figures = [f64; NAMES.len()];

/// One run, in milliseconds: the times by the fake server's clock, and those that the client measured.
struct Round {
    truth: Figures,
    found: Figures,
}

impl Round {
    fn us(&self, figure: usize) -> f64 {
        (self.found[figure] - self.truth[figure]) * 1e3
    }

    /// 100 µs or 1 %, whichever is greater.
    fn tolerance_us(&self, figure: usize) -> f64 {
        (self.truth[figure] * 1e3 * 0.01).max(100.0)
    }

    fn within_tolerance(&self) -> usize {
        (0..NAMES.len()).filter(|figure| self.us(*figure).abs() <= self.tolerance_us(*figure)).count()
    }
}

pub(crate) fn print() {
    println!(
        "Report minus truth in µs, with the bare client's figure in parentheses; each is the median of {ROUNDS} rounds.\n"
    );
    println!("| delays | agents | {} | worst of all rounds | within tolerance |", NAMES.join(" | "));
    println!("|---|---|{}---|---|", "---|".repeat(NAMES.len()));
    let [mut muster_met, mut bare_met, mut agreeing, mut all] = [0; 4];
    for distribution in Distribution::ALL {
        for agents in AGENTS {
            let rounds: Vec<[Round; 2]> = (0..ROUNDS).map(|_| round(distribution, agents)).collect();
            let median_us = |figure: usize, side: usize| {
                median(&rounds.iter().map(|round| round[side].us(figure)).collect::<Vec<_>>())
            };
            let cells: Vec<_> = (0..NAMES.len())
                .map(|figure| format!("{:+.0} ({:+.0})", median_us(figure, 0), median_us(figure, 1)))
                .collect();
            agreeing += (0..NAMES.len())
                .filter(|figure| {
                    (median_us(*figure, 0) - median_us(*figure, 1)).abs()
                        <= rounds[0][0].tolerance_us(*figure)
                })
                .count();
            let met = |side: usize| rounds.iter().map(|round| round[side].within_tolerance()).sum::<usize>();
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
        "\nWithin 100 µs or 1 % of the truth: {muster_met} of {all} figures of Muster, {bare_met} of {all} of the bare client."
    );
    println!("Muster and the bare client within 100 µs or 1 % of each other: {agreeing} of {pairs} figures.");
}

/// Runs Muster, then the bare client.
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

/// Muster's figure that differs most from the truth, relative to its tolerance.
fn worst(rounds: &[[Round; 2]]) -> String {
    let figures = rounds.iter().flat_map(|[muster, _]| (0..NAMES.len()).map(move |figure| (muster, figure)));
    let relative_error =
        |(round, figure): &(&Round, usize)| round.us(*figure).abs() / round.tolerance_us(*figure);
    let (round, figure) = figures.max_by(|a, b| relative_error(a).total_cmp(&relative_error(b))).unwrap();
    let (us, truth_ms) = (round.us(figure), round.truth[figure]);
    format!("{} {us:+.0} µs of {truth_ms:.2} ms ({:+.1} %)", NAMES[figure], us / truth_ms / 10.0)
}
