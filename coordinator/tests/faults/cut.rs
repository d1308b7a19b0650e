//! Networks between an agent and its coordinator that are cut, stalled or slow. What an agent has measured and could not tell, it
//! keeps and tells again.

use tokio::time::Duration;

use crate::support::load::{Gate, Load, TWO, hosts_of};
use crate::support::proxy::{Proxy, Way};

/// A run in its middle whose slot-0 is behind a proxy.
async fn behind_proxy(name: &str) -> Option<(Load, Proxy)> {
    let mut load = Load::gather(name, TWO, &["--slot-grace", "60s"]).await?;
    let proxy = Proxy::start(load.address).await;
    load.join_at(proxy.address()).wait_for("as slot-0").await;
    load.join();
    load.run().await;
    Some((load, proxy))
}

async fn rows_of_first(load: &Load) -> i64 {
    load.database.number("SELECT count(*) FROM ran WHERE session LIKE '%:slot-0:%'").await
}

/// Runs a few rows of slot-0 whose results, or their acknowledgements, do not arrive; leaves the gate closed behind them. Returns how
/// many rows that were.
pub(crate) async fn run_untold(load: &Load, proxy: &Proxy, way: Way) -> (i64, Gate) {
    let gate = load.close_gate(2).await;
    proxy.stall(way);
    let before = rows_of_first(load).await;
    gate.open().await;
    let more = "SELECT (count(*) > $)::int::bigint FROM ran WHERE session LIKE '%:slot-0:%'";
    load.database.wait_for(1, &more.replace('$', &before.to_string())).await;
    let gate = load.close_gate(0).await;
    // It is at the gate with the row behind them, or has none: it has the answers in its hands.
    let has_answers = "application_name LIKE '%:slot-0:%' AND (wait_event = 'advisory' \
                       OR state = 'idle' AND state_change < clock_timestamp() - INTERVAL '0.3 s')";
    load.database.wait_for(1, &load.database.workers(has_answers)).await;
    (rows_of_first(load).await - before, gate)
}

#[tokio::test]
async fn results_that_a_cut_connection_lost_are_told_again_and_their_rows_do_not_run_again() {
    let Some((mut load, proxy)) = behind_proxy("cut").await else { return };
    let (untold, gate) = run_untold(&load, &proxy, Way::ToCoordinator).await;
    proxy.cut();
    load.coordinator.wait_for("slot-0 lost").await;
    load.agents[0].wait_for("joining again").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 goes on with").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(untold > 0);
    assert_eq!(load.reruns().await, 0, "{untold} results were told late, and none of these rows ran again");
    assert_eq!(report.number("/queries/duplicates"), 0, "the coordinator had none of them");
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn results_whose_acknowledgement_was_lost_are_told_again_and_dropped_as_duplicates() {
    let Some((mut load, proxy)) = behind_proxy("cut_acks").await else { return };
    let (untold, gate) = run_untold(&load, &proxy, Way::ToAgent).await;
    gate.open().await;
    load.agents[0].wait_for("lease lapsed").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 goes on with").await;
    let report = load.end(0).await;
    let duplicates = report.number("/queries/duplicates") as i64;
    assert!(duplicates >= untold && untold > 0, "{duplicates} duplicates of {untold}");
    assert_eq!(load.reruns().await, 0, "they had arrived the first time");
}

#[tokio::test]
async fn a_network_that_stalls_for_longer_than_the_lease_costs_a_session_and_no_result() {
    stalled_for_long("cut_stalled", Way::Both).await;
}

#[tokio::test]
async fn a_network_that_stalls_towards_the_coordinator_costs_a_session_and_no_result() {
    stalled_for_long("cut_one_way", Way::ToCoordinator).await;
}

async fn stalled_for_long(name: &str, way: Way) {
    let Some((mut load, proxy)) = behind_proxy(name).await else { return };
    let (untold, gate) = run_untold(&load, &proxy, way).await;
    load.coordinator.wait_for("slot-0 lost").await;
    load.agents[0].wait_for("lease lapsed").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 goes on with").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(untold > 0);
    assert_eq!(load.reruns().await, 0, "{untold} results were told late, and none of these rows ran again");
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn a_network_that_stalls_for_a_moment_costs_nothing() {
    let Some((mut load, proxy)) = behind_proxy("cut_briefly").await else { return };
    let (untold, gate) = run_untold(&load, &proxy, Way::Both).await;
    proxy.heal();
    gate.open().await;
    let report = load.end(0).await;
    assert!(untold > 0);
    report.expect_undisturbed();
    assert_eq!((report.number("/queries/retried"), load.reruns().await), (0, 0));
}

#[tokio::test]
async fn a_network_that_is_cut_again_and_again_loses_nothing() {
    let Some((mut load, proxy)) = behind_proxy("cut_often").await else { return };
    for times in 1..=3 {
        let (_, gate) = run_untold(&load, &proxy, Way::ToCoordinator).await;
        proxy.cut();
        load.wait_for_events(times, "slot-0 lost").await;
        proxy.heal();
        load.wait_for_events(times, "slot-0 goes on with").await;
        gate.open().await;
    }
    let report = load.end(0).await;
    assert_eq!(report.books(), (TWO.rows as u64, 0, 0));
    assert_eq!(load.reruns().await, 0);
}

#[tokio::test]
async fn a_slow_network_is_no_loss() {
    let Some(mut load) = Load::gather("cut_slow", TWO, &[]).await else { return };
    let proxy = Proxy::start(load.address).await;
    proxy.delay(Duration::from_millis(300));
    load.join_at(proxy.address());
    load.join();
    let report = load.end(0).await;
    let queries = |name: &str| report.number(&format!("/queries/{name}"));
    assert_eq!([queries("retried"), queries("duplicates"), queries("stale")], [0; 3]);
    report.expect_undisturbed();
}
