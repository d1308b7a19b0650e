//! A whole run of ten million rows, and the most memory that its coordinator took.
//! `cargo build --release && cargo bench -p muster-coordinator --bench dispatch [-- ROWS [HOSTS]]`
#![allow(clippy::print_stdout, reason = "a benchmark's report goes to stdout")]

mod whole_run;

use whole_run::{AGENTS, Bench, Journal, WORKERS};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [rows, hosts] = whole_run::numbers([10_000_000, 1_000])?;
    let bench = Bench::prepare(rows, hosts).await?;
    let took = bench.run(Journal::Kept, &[]);
    bench.end().await?;
    let took = took?;
    let queries = &took.result["queries"];
    println!("{rows} rows, {hosts} hosts, {AGENTS} agents with {WORKERS} workers each");
    println!("completed {}, unaccounted {}", queries["completed"], queries["unaccounted"]);
    println!(
        "{:.0} queries/s; the coordinator's peak {}, its CPU {:.2} s",
        took.result["throughput_qps"].as_f64().unwrap_or_default(),
        took.peak,
        took.cpu.as_secs_f64()
    );
    Ok(())
}
