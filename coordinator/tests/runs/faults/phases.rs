//! A frozen agent, a broken connection and a frozen coordinator, in every phase except the middle of a run, which has its own files: while
//! the coordinator waits for agents, while they prepare, when all are armed, and while an interrupted run drains.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use muster_testing::load::{Load, TWO};
use muster_testing::proxy::Proxy;

const FROZEN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Fault {
    AgentFreezes,
    ConnectionBreaks,
    CoordinatorFreezes,
}

impl Fault {
    const ALL: [(&'static str, Self); 3] = [
        ("agent", Self::AgentFreezes),
        ("cut", Self::ConnectionBreaks),
        ("coordinator", Self::CoordinatorFreezes),
    ];

    /// Injects the fault; the first agent is behind the proxy. Returns when the fault is over and the session of slot-0 is lost.
    async fn inject(self, load: &mut Load, proxy: &Proxy) {
        let until = Instant::now() + FROZEN;
        match self {
            Self::AgentFreezes => {
                load.agents[0].signal("STOP");
                load.coordinator.wait_for("slot-0 lost").await;
                sleep_until(until).await;
                load.agents[0].signal("CONT");
            }
            Self::ConnectionBreaks => {
                proxy.cut();
                load.coordinator.wait_for("slot-0 lost").await;
            }
            Self::CoordinatorFreezes => {
                load.coordinator.signal("STOP");
                sleep_until(until).await;
                load.coordinator.signal("CONT");
                load.coordinator.wait_for("slot-0 lost").await;
            }
        }
        proxy.heal();
    }
}

/// Starts a coordinator for two agents and the proxy for the first of them.
async fn start_behind_proxy(phase: &str, fault: &str) -> Option<(Load, Proxy)> {
    let load =
        Load::start_coordinator(&format!("phases_{phase}_{fault}"), TWO, &["--slot-grace", "60s"]).await?;
    let proxy = Proxy::start(load.address).await;
    Some((load, proxy))
}

#[tokio::test]
async fn a_fault_while_waiting_for_agents_only_delays_the_start() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = start_behind_proxy("waiting", name).await else { return };
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        fault.inject(&mut load, &proxy).await;
        load.join();
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
    }
}

#[tokio::test]
async fn a_fault_while_agents_prepare_only_delays_the_start() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = start_behind_proxy("prepare", name).await else { return };
        // Preparing reads the table's definition and waits for this lock.
        let locker = load.database.session().await;
        locker.batch_execute("BEGIN; LOCK TABLE ran IN ACCESS EXCLUSIVE MODE").await.unwrap();
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join().wait_for("as slot-1").await;
        load.database.wait_for(2, &load.database.workers("wait_event_type = 'Lock'")).await;
        fault.inject(&mut load, &proxy).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
    }
}

#[tokio::test]
async fn after_a_fault_when_all_are_armed_the_slots_continue_with_new_sessions() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = start_behind_proxy("armed", name).await else { return };
        // No row ends before the fault, regardless of its timing.
        let gate = load.close_gate(0).await;
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join();
        load.coordinator.wait_for("all 2 agents armed").await;
        fault.inject(&mut load, &proxy).await;
        load.coordinator.wait_for("slot-0 continues with").await;
        gate.open().await;
        load.end(0).await;
        assert_eq!(load.reruns().await, 0, "queries at the gate were ended there");
    }
}

#[tokio::test]
async fn a_fault_while_an_interrupted_run_drains_does_not_prevent_a_correct_report() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = start_behind_proxy("drain", name).await else { return };
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join();
        load.wait_until_running().await;
        let gate = load.close_gate(2).await;
        load.wait_until_counted().await;
        load.coordinator.signal("INT");
        load.coordinator.wait_for("interrupted: waiting for queries in flight").await;
        fault.inject(&mut load, &proxy).await;
        gate.open().await;
        let report = load.end(130).await;
        let (completed, failed, unaccounted) = report.accounting();
        assert!(completed > 0 && failed == 0 && unaccounted > 0, "{:?}", report.accounting());
    }
}
