//! Database connections that are cut while their queries run. The server continues to run those queries, and the workers connect again.

use muster_testing::load::{Load, TWO};
use muster_testing::proxy::Proxy;

#[tokio::test]
async fn a_worker_that_reconnects_ends_its_old_query_before_the_next_one() {
    let Some(mut load) = Load::start_coordinator("overlap", TWO, &[]).await else { return };
    let proxy = Proxy::before_database(&load.database.socket()).await;
    let url = format!("postgresql://postgres@{}/{}", proxy.address(), load.database.name());
    let address = load.address;
    for _ in 0..2 {
        load.join_with(address, &["--database-url", &url]);
    }
    load.wait_until_running().await;
    for _ in 0..3 {
        let gate = load.close_gate(2).await;
        let at_gate = load
            .database
            .workers("wait_event = 'advisory'")
            .replace("count(*)", "string_agg(pid::text, ',')");
        let old = load.database.text(&at_gate).await;
        proxy.cut();
        proxy.heal();
        // The server would not end them on its own: they wait at the gate, where it does not notice that their clients are gone.
        load.database.wait_for(0, &load.database.workers(&format!("pid IN ({old})"))).await;
        load.wait_at_gate(2).await;
        gate.open().await;
    }
    let report = load.end(14).await;
    assert_eq!(report.accounting(), (TWO.rows as u64 - 6, 6, 0));
    for error in report.list("/errors") {
        assert_eq!(error["sqlstate"], "08006", "{error}");
    }
}
