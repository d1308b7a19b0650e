//! A hundred short, undisturbed runs: the number of each verdict, to find false alarms.

use std::collections::BTreeMap;

use muster_report::result::RunResult;

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

const RUNS: usize = 100;
const ROWS: usize = 500;

pub(crate) fn print() {
    let mut verdicts = BTreeMap::new();
    let mut reasons = BTreeMap::new();
    for run in 0..RUNS {
        let report = one(if run % 2 == 0 { &[] } else { &["--rate", "1000"] });
        *verdicts.entry(format!("{:?}", report.verdict.status).to_uppercase()).or_insert(0) += 1;
        for reason in report.verdict.reasons {
            *reasons.entry(reason).or_insert(0) += 1;
        }
    }
    println!("{RUNS} runs of {ROWS} rows on 4 agents, every other one with `--rate 1000`.\n");
    println!("| verdict | runs |\n|---|---|");
    for (verdict, count) in verdicts {
        println!("| {verdict} | {count} |");
    }
    for (reason, count) in reasons {
        println!("\n{count}× {reason}");
    }
}

fn one(words: &[&str]) -> RunResult {
    let fake = FakePostgres::start();
    let rows: Vec<_> = (0..ROWS).map(|row| format!("h{},1ms", row % 8)).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced"]).with(words);
    let report: RunResult = serde_json::from_str(&run.local(4).stdout).unwrap();
    assert_eq!(report.queries.completed, ROWS as u64);
    report
}
