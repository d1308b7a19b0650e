//! Metrics of agents across several runs, and a coordinator's metrics of its agents.

use std::net::SocketAddr;

use crate::metrics::scrape::{scrape, scrape_until};
use muster_testing::fake_postgres::{FakePostgres, QUERY};
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, run};
use muster_testing::report::Report;

/// A workload and its statement on a fake server.
struct Work {
    fake: FakePostgres,
    rows: String,
    query: String,
    _files: Files,
}

impl Work {
    /// `rows` rows, each of another host, that follow `script`.
    fn of(rows: usize, script: &str) -> Self {
        let files = Files::new();
        let csv: String = (0..rows).map(|row| format!("h{row},{script}\n")).collect();
        let rows = files.write("rows.csv", format!("hostname,script\n{csv}"));
        let query = files.write("q.sql", QUERY);
        Self { fake: FakePostgres::start(), rows, query, _files: files }
    }

    fn coordinator(&self, at: SocketAddr, agents: u16, more: &[&str]) -> Process {
        let args = [self.rows.as_str(), "--query", &self.query, "--database-url", &self.fake.url()];
        Process::start(run(at, agents, &[&args, more].concat()))
    }
}

fn watched(coordinator: SocketAddr, metrics: SocketAddr) -> Process {
    Process::start(agent(coordinator, &["--workers", "2", "--metrics", &metrics.to_string()]))
}

#[tokio::test]
async fn agents_export_their_queries_across_runs() {
    let (work, at, pages) = (Work::of(300, "1ms"), address(), [address(), address()]);
    let _agents = pages.map(|metrics| watched(at, metrics));
    for ran in [300.0, 600.0] {
        let ended = work.coordinator(at, 2, &[]).end().await.expect(0);
        assert_eq!(Report::of(&ended).accounting(), (300, 0, 0));
        let mut completed = 0.0;
        for metrics in pages {
            let page = scrape_until(metrics, "its session is over", |page| {
                page.value("muster_agent_connected", &[]) == 0.0
            })
            .await;
            let (own, failed) = page.queries("muster_agent_queries_total");
            assert_eq!((page.histogram("muster_agent_service_time_seconds"), failed), (own, 0.0));
            assert_eq!(page.value("muster_agent_unacknowledged_results", &[]), 0.0);
            assert_eq!(
                page.value("muster_agent_reconnects_total", &[]),
                0.0,
                "the end of a run is not a reconnect"
            );
            completed += own;
        }
        assert_eq!(completed, ran);
    }
}

#[tokio::test]
async fn the_loss_of_an_agent_or_coordinator_is_exported_by_the_other_side() {
    // No query ends, so that the run continues while it is scraped.
    let (work, at, metrics) = (Work::of(40, "forever"), address(), address());
    let pages = [address(), address()];
    let [one, mut other] = pages.map(|metrics| watched(at, metrics));
    let more = ["--metrics", &metrics.to_string(), "--on-agent-loss", "wait"];
    let mut coordinator = work.coordinator(at, 2, &more);
    coordinator.wait_for("metrics at").await;
    let page = scrape_until(metrics, "both run", |page| page.agents() == (2.0, 2.0, 2.0)).await;
    assert_eq!(page.phase(), Some("running"));
    assert_eq!(page.value("muster_agents_lost_total", &[]), 0.0);
    one.signal("KILL");
    let page =
        scrape_until(metrics, "one is lost", |page| page.value("muster_agents_lost_total", &[]) == 1.0).await;
    assert_eq!(page.agents().0, 2.0);
    scrape_until(metrics, "one is left", |page| page.agents() == (2.0, 1.0, 1.0)).await;
    assert_eq!(scrape(pages[1]).await.value("muster_agent_connected", &[]), 1.0);

    coordinator.signal("KILL");
    let is_connected = |wanted| {
        move |page: &crate::metrics::scrape::Page| {
            page.value("muster_agent_connected", &[]) == f64::from(wanted)
        }
    };
    let page = scrape_until(pages[1], "the coordinator is gone", is_connected(0)).await;
    assert_eq!(page.value("muster_agent_reconnects_total", &[]), 0.0);
    let again = work.coordinator(at, 1, &[]);
    let page = scrape_until(pages[1], "another one is there", is_connected(1)).await;
    assert_eq!(page.value("muster_agent_reconnects_total", &[]), 1.0);
    assert!(other.is_running());
    again.signal("KILL");
}
