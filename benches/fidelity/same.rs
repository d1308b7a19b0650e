//! Runs the same workload with 1, 3 and 10 agents and compares the results and the counts, which must be equal.

use super::server::Server;

pub(crate) fn print() {
    let Some(server) = Server::start() else { return };
    println!("| agents | completed | failed | unaccounted | result rows | bytes | digest |");
    println!("|---|---|---|---|---|---|---|");
    let mut seen = Vec::new();
    for agents in ["1", "3", "10"] {
        let report = server.run(&["--agents", agents, "data/query_params.csv"]);
        let (queries, answers) = (&report.queries, &report.result);
        println!(
            "| {agents} | {} | {} | {} | {} | {} | `{}` |",
            queries.completed,
            queries.failed,
            queries.unaccounted,
            answers.rows,
            answers.bytes,
            answers.digest
        );
        seen.push((queries.completed, answers.clone()));
    }
    let all_equal = seen.iter().all(|one| *one == seen[0]);
    println!("\n{}", if all_equal { "All are equal." } else { "They differ." });
}
