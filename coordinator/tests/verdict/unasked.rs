//! An agent that asks no database.

use super::fixture::{Generator, reason};

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_of_two_that_asks_no_database_voids_the_run() {
    let mut generator = Generator::gather(2, 400, "1ms", &[]).await;
    generator.join(&["--null-database"]);
    generator.coordinator.wait_for("slot-0 joined").await;
    generator.join(&[]);
    let report = generator.end(false).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    assert!(reason(&report, "no_database").starts_with("slot-0 asked no database"));
    assert!(report.text("/database/server_version").contains('.'), "the other agent's is told");
    assert_eq!(report.books(), (400, 0, 0));
    for agent in &mut generator.agents {
        agent.end().await.expect(0);
    }
}
