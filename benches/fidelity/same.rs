//! The same workload with 1, 3 and 10 agents: the same answers, the same counts.

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
    let is_same = seen.iter().all(|one| *one == seen[0]);
    println!("\n{}", if is_same { "All the same." } else { "They differ." });
}
