//! Ten runs with ten agents and 20,000 rows each; in each run an agent is killed at a different time. Run by `just kills`.

use muster_testing::load::{Load, Row, Shape};

const RUNS: usize = 10;
const LARGE: Shape = Shape { agents: 10, rows: 20_000, seconds: 0.001 };

fn many_hosts(row: &mut Row) {
    row.host = format!("host_{:03}", row.id % 200);
}

#[tokio::test]
#[ignore = "takes minutes: `just kills`"]
async fn ten_runs_with_a_kill_each_count_every_row_once() {
    println!("run | killed at | slot | then     | retried | ran again | duplicates | wall ms | digest");
    for number in 0..RUNS {
        let is_replaced = number % 2 == 0;
        let grace = if is_replaced { "60s" } else { "200ms" };
        let name = format!("kills_{number}");
        let Some(database) = muster_testing::database::Database::empty(&name).await else { return };
        let mut load =
            Load::start_coordinator_on(database, LARGE, many_hosts, &["--slot-grace", grace]).await;
        for _ in 0..LARGE.agents {
            load.join().wait_for("joined run").await;
        }
        let rows = 1_000 + number * 1_500;
        load.database.wait_for(1, &format!("SELECT (count(*) > {rows})::int::bigint FROM ran")).await;
        let slot = load.kill(number).await;
        load.coordinator.wait_for(&format!("{slot} lost")).await;
        if is_replaced {
            load.join();
            load.coordinator.wait_for(&format!("{slot} continues with")).await;
        } else {
            load.coordinator.wait_for(&format!("{slot} given up")).await;
        }
        // Also compares the digest with that of an undisturbed run.
        let report = load.end(0).await;
        let queries = |name: &str| report.number(&format!("/queries/{name}"));
        println!(
            "{:3} | {rows:9} | {slot} | {} | {:7} | {:9} | {:10} | {:7.0} | equal",
            number + 1,
            if is_replaced { "replaced" } else { "moved   " },
            queries("retried"),
            load.reruns().await,
            queries("duplicates"),
            report.at("/wall_time_ms").as_f64().unwrap(),
        );
    }
}
