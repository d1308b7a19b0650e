//! Counts the instructions of the pure hot paths with valgrind and compares them with the committed counts. Instruction counts are stable
//! where times are not. `just counts` compares, `just counts --write` updates counts.txt.
//!
//! The program runs itself under callgrind twice, with one and with three repetitions of a case's work. The difference contains only the
//! work, without the start of the process and the creation of the input.
#![allow(clippy::print_stdout, reason = "its report goes to stdout")]

mod cases;
mod committed;
#[path = "../../rows.rs"]
mod rows;

use std::process::Command;

use anyhow::{Context, ensure};

use cases::{CASES, Case};
use committed::{Committed, Compiler};

/// Repetitions of a case's work in the two runs.
const TIMES: [u32; 2] = [1, 3];

/// Tolerated change relative to the committed count. Differences in the allocator's state or in a name's hash change a count by less than
/// 0.5 %.
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
        _ => anyhow::bail!("unknown arguments: the only option is --write"),
    }
}

fn compare() -> anyhow::Result<()> {
    let (committed, compiler) = (Committed::read()?, Compiler::here()?);
    if committed.compiler != compiler {
        println!(
            "SKIPPED: the committed counts are for {}, but the compiler here is {compiler}",
            committed.compiler
        );
        return Ok(());
    }
    let mut is_unchanged = true;
    for case in CASES {
        let count = count(case)?;
        let change = committed.of(case.name).map(|before| (count / before - 1.0) * 100.0);
        let (verdict, change) = match change {
            None => ("NOT COMMITTED", String::new()),
            Some(change) if change.abs() > TOLERANCE_PER_CENT => ("CHANGED", format!("{change:+.1} %")),
            Some(change) => ("unchanged", format!("{change:+.1} %")),
        };
        is_unchanged &= verdict == "unchanged";
        println!("{:<24} {count:>10.1} {change:>9}  {verdict}", case.name);
    }
    ensure!(
        is_unchanged,
        "instruction counts are missing or have changed by more than {TOLERANCE_PER_CENT} %; if that is intended, run `just counts --write`"
    );
    Ok(())
}

fn count_all() -> anyhow::Result<Vec<(&'static str, f64)>> {
    CASES.iter().map(|case| Ok((case.name, count(case)?))).collect()
}

/// Instructions per unit.
fn count(case: &Case) -> anyhow::Result<f64> {
    let [once, more] = TIMES.map(|times| instructions(case.name, times));
    let units = f64::from(case.units) * f64::from(TIMES[1] - TIMES[0]);
    Ok((more? - once?) / units)
}

/// Instructions of this program with `times` repetitions of a case's work.
fn instructions(name: &str, times: u32) -> anyhow::Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?).args(["--work", name, &times.to_string()]);
    // One arena and one thread make the allocator deterministic.
    let output = valgrind.env("MALLOC_ARENA_MAX", "1").output().context("run valgrind")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {stderr}");
    // ==1234== Collected : 56789
    let collected = stderr.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind printed no count: {stderr}"))
}
