//! How many instructions the pure hot paths take, counted by valgrind and compared with those that are written down: counts are steady
//! where times are not. `just counts` compares, `just counts --write` renews counts.txt.
//!
//! The program runs itself under callgrind, once with a case's work done once and once with it done three times: the difference is the
//! work, whatever the start of the process and the making of its input took.
#![allow(clippy::print_stdout, reason = "its report goes to stdout")]

mod cases;
mod committed;
#[path = "../../rows.rs"]
mod rows;

use std::process::Command;

use anyhow::{Context, ensure};

use cases::{CASES, Case};
use committed::{Committed, Compiler};

/// How often a case's work is done in the two runs.
const TIMES: [u32; 2] = [1, 3];

/// Of the count that is written down. Another allocator's state or another hash of a name moves a count by less than half of one.
const TOLERANCE_PER_CENT: f64 = 2.0;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => compare(),
        ["--write"] => Committed::write(Compiler::here()?, &count_all()?),
        ["--work", name, times] => {
            let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
            case.work(times.parse()?)
        }
        _ => anyhow::bail!("nothing is asked for but --write"),
    }
}

fn compare() -> anyhow::Result<()> {
    let (committed, compiler) = (Committed::read()?, Compiler::here()?);
    if committed.compiler != compiler {
        println!("SKIPPED: the counts are of {}, and this is {compiler}", committed.compiler);
        return Ok(());
    }
    let mut is_like = true;
    for case in CASES {
        let count = count(case)?;
        let change = committed.of(case.name).map(|before| (count / before - 1.0) * 100.0);
        let (verdict, change) = match change {
            None => ("NOT WRITTEN DOWN", String::new()),
            Some(change) if change.abs() > TOLERANCE_PER_CENT => ("CHANGED", format!("{change:+.1} %")),
            Some(change) => ("as before", format!("{change:+.1} %")),
        };
        is_like &= verdict == "as before";
        println!("{:<24} {count:>10.1} {change:>9}  {verdict}", case.name);
    }
    ensure!(
        is_like,
        "instructions have changed by more than {TOLERANCE_PER_CENT} %; `just counts --write` writes them down if that is meant"
    );
    Ok(())
}

fn count_all() -> anyhow::Result<Vec<(&'static str, f64)>> {
    CASES.iter().map(|case| Ok((case.name, count(case)?))).collect()
}

/// Instructions a unit.
fn count(case: &Case) -> anyhow::Result<f64> {
    let [once, more] = TIMES.map(|times| instructions(case.name, times));
    let units = f64::from(case.units) * f64::from(TIMES[1] - TIMES[0]);
    Ok((more? - once?) / units)
}

/// Of this program, doing a case's work so often.
fn instructions(name: &str, times: u32) -> anyhow::Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?).args(["--work", name, &times.to_string()]);
    // One arena and one thread: what the allocator does is the same each time.
    let output = valgrind.env("MALLOC_ARENA_MAX", "1").output().context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {said}");
    // ==1234== Collected : 56789
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind counted nothing: {said}"))
}
