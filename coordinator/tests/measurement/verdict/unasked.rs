//! An agent that queries no database.

use super::fixture::{Generator, reason};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_agents_without_a_database_voids_the_run() {
    let mut generator = Generator::start(2, 400, "1ms", &[]).await;
    generator.join(&["--null-database"]);
    generator.coordinator.wait_for("slot-0 joined").await;
    generator.join(&[]);
    let report = generator.end(false).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    assert!(reason(&report, "no_database").starts_with("slot-0 used no database"));
    assert!(report.text("/database/server_version").contains('.'), "the other agent's server is reported");
    assert_eq!(report.accounting(), (400, 0, 0));
    for agent in &mut generator.agents {
        agent.end().await.expect(0);
    }
}
