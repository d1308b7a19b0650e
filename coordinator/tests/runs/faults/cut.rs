//! Networks between an agent and its coordinator that are cut, stalled or slow. An agent keeps the results that it could not send and
//! sends them again.

use tokio::time::Duration;

use muster_testing::load::{Gate, Load, TWO, hosts_of};
use muster_testing::proxy::{Direction, Proxy};

/// Starts a run whose slot-0 is behind a proxy and waits until every agent has run rows.
async fn behind_proxy(name: &str) -> Option<(Load, Proxy)> {
    let mut load = Load::start_coordinator(name, TWO, &["--slot-grace", "60s"]).await?;
    let proxy = Proxy::start(load.address).await;
    load.join_at(proxy.address()).wait_for("as slot-0").await;
    load.join();
    load.wait_until_running().await;
    Some((load, proxy))
}

async fn rows_of_first(load: &Load) -> i64 {
    load.database.number("SELECT count(*) FROM ran WHERE session LIKE '%:slot-0:%'").await
}

/// Runs a few rows of slot-0 whose results or acknowledgements do not arrive, and leaves the gate closed behind them. Returns the number
/// of these rows.
pub(crate) async fn run_unacked(load: &Load, proxy: &Proxy, direction: Direction) -> (i64, Gate) {
    let gate = load.close_gate(2).await;
    proxy.stall(direction);
    let before = rows_of_first(load).await;
    gate.open().await;
    let more = "SELECT (count(*) > $)::int::bigint FROM ran WHERE session LIKE '%:slot-0:%'";
    load.database.wait_for(1, &more.replace('$', &before.to_string())).await;
    let gate = load.close_gate(0).await;
    // The worker waits at the gate with the next row, or is idle: so it has received the answers of the rows before.
    let has_received = "application_name LIKE '%:slot-0:%' AND (wait_event = 'advisory' \
                       OR state = 'idle' AND state_change < clock_timestamp() - INTERVAL '0.3 s')";
    load.database.wait_for(1, &load.database.workers(has_received)).await;
    (rows_of_first(load).await - before, gate)
}

#[tokio::test]
async fn results_lost_in_a_cut_connection_are_sent_again_and_their_rows_do_not_rerun() {
    let Some((mut load, proxy)) = behind_proxy("cut").await else { return };
    let (unacked, gate) = run_unacked(&load, &proxy, Direction::ToCoordinator).await;
    proxy.cut();
    load.coordinator.wait_for("slot-0 lost").await;
    load.agents[0].wait_for("joining again").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 continues with").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(unacked > 0);
    assert_eq!(load.reruns().await, 0, "{unacked} results were sent again, and none of these rows ran again");
    assert_eq!(report.number("/queries/duplicates"), 0, "the coordinator had received none of them");
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn results_whose_acknowledgement_was_lost_are_sent_again_and_dropped_as_duplicates() {
    let Some((mut load, proxy)) = behind_proxy("cut_acks").await else { return };
    let (unacked, gate) = run_unacked(&load, &proxy, Direction::ToAgent).await;
    gate.open().await;
    load.agents[0].wait_for("lease expired").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 continues with").await;
    let report = load.end(0).await;
    let duplicates = report.number("/queries/duplicates") as i64;
    assert!(duplicates >= unacked && unacked > 0, "{duplicates} duplicates of {unacked}");
    assert_eq!(load.reruns().await, 0, "the results had arrived the first time");
}

#[tokio::test]
async fn a_stall_longer_than_the_lease_loses_the_session_and_no_result() {
    stalled_for_long("cut_stalled", Direction::Both).await;
}

#[tokio::test]
async fn a_stall_towards_the_coordinator_loses_the_session_and_no_result() {
    stalled_for_long("cut_one_way", Direction::ToCoordinator).await;
}

async fn stalled_for_long(name: &str, direction: Direction) {
    let Some((mut load, proxy)) = behind_proxy(name).await else { return };
    let (unacked, gate) = run_unacked(&load, &proxy, direction).await;
    load.coordinator.wait_for("slot-0 lost").await;
    load.agents[0].wait_for("lease expired").await;
    proxy.heal();
    load.coordinator.wait_for("slot-0 continues with").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(unacked > 0);
    assert_eq!(load.reruns().await, 0, "{unacked} results were sent again, and none of these rows ran again");
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn a_short_stall_loses_nothing() {
    let Some((mut load, proxy)) = behind_proxy("cut_briefly").await else { return };
    let (unacked, gate) = run_unacked(&load, &proxy, Direction::Both).await;
    proxy.heal();
    gate.open().await;
    let report = load.end(0).await;
    assert!(unacked > 0);
    report.expect_undisturbed();
    assert_eq!((report.number("/queries/retried"), load.reruns().await), (0, 0));
}

#[tokio::test]
async fn repeated_cuts_lose_nothing() {
    let Some((mut load, proxy)) = behind_proxy("cut_often").await else { return };
    for times in 1..=3 {
        let (_, gate) = run_unacked(&load, &proxy, Direction::ToCoordinator).await;
        proxy.cut();
        load.wait_for_events(times, "slot-0 lost").await;
        proxy.heal();
        load.wait_for_events(times, "slot-0 continues with").await;
        gate.open().await;
    }
    let report = load.end(0).await;
    assert_eq!(report.accounting(), (TWO.rows as u64, 0, 0));
    assert_eq!(load.reruns().await, 0);
}

#[tokio::test]
async fn a_slow_network_does_not_lose_the_session() {
    let Some(mut load) = Load::start_coordinator("cut_slow", TWO, &[]).await else { return };
    let proxy = Proxy::start(load.address).await;
    proxy.delay(Duration::from_millis(300));
    load.join_at(proxy.address());
    load.join();
    let report = load.end(0).await;
    let queries = |name: &str| report.number(&format!("/queries/{name}"));
    assert_eq!([queries("retried"), queries("duplicates"), queries("stale")], [0; 3]);
    report.expect_undisturbed();
}
