//! An agent that freezes for 10 s, a connection that breaks, and a coordinator that freezes for 10 s, in each phase but the middle of a
//! run, which has files of its own: while agents gather, while they prepare, when all are armed, and while an interrupted run drains.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::support::load::{Load, TWO};
use crate::support::proxy::Proxy;

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

    /// To the first agent, which is behind the proxy. Returns when all is well again, and the session of slot-0 lost.
    async fn strike(self, load: &mut Load, proxy: &Proxy) {
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

/// A coordinator that waits for two agents, the first of which is behind the proxy.
async fn gather(phase: &str, fault: &str) -> Option<(Load, Proxy)> {
    let load = Load::gather(&format!("phases_{phase}_{fault}"), TWO, &["--slot-grace", "60s"]).await?;
    let proxy = Proxy::start(load.address).await;
    Some((load, proxy))
}

#[tokio::test]
async fn while_agents_gather_the_run_begins_later_and_undisturbed() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = gather("gather", name).await else { return };
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        fault.strike(&mut load, &proxy).await;
        load.join();
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
    }
}

#[tokio::test]
async fn while_agents_prepare_the_run_begins_later_and_undisturbed() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = gather("prepare", name).await else { return };
        // Preparing needs to read the table's definition, and waits for this lock.
        let locker = load.database.session().await;
        locker.batch_execute("BEGIN; LOCK TABLE ran IN ACCESS EXCLUSIVE MODE").await.unwrap();
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join().wait_for("as slot-1").await;
        load.database.wait_for(2, &load.database.workers("wait_event_type = 'Lock'")).await;
        fault.strike(&mut load, &proxy).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
    }
}

#[tokio::test]
async fn when_all_are_armed_the_slots_go_on_with_new_sessions() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = gather("armed", name).await else { return };
        // No row ends before the fault, however late it comes.
        let gate = load.close_gate(0).await;
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join();
        load.coordinator.wait_for("all 2 agents armed").await;
        fault.strike(&mut load, &proxy).await;
        load.coordinator.wait_for("slot-0 goes on with").await;
        gate.open().await;
        load.end(0).await;
        assert_eq!(load.reruns().await, 0, "what was at the gate was ended there");
    }
}

#[tokio::test]
async fn while_an_interrupted_run_drains_its_report_comes_and_its_books_close() {
    for (name, fault) in Fault::ALL {
        let Some((mut load, proxy)) = gather("drain", name).await else { return };
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join();
        load.run().await;
        let gate = load.close_gate(2).await;
        load.until_counted().await;
        load.coordinator.signal("INT");
        load.coordinator.wait_for("interrupted: queries in flight may end").await;
        fault.strike(&mut load, &proxy).await;
        gate.open().await;
        let report = load.end(130).await;
        let (completed, failed, unaccounted) = report.books();
        assert!(completed > 0 && failed == 0 && unaccounted > 0, "{:?}", report.books());
    }
}
