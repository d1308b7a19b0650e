//! A run that is in the middle of its rows.

use std::net::SocketAddr;

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, complete, run};
use muster_testing::report::Report;

/// Enough rows that the run does not end before the test has acted on it.
pub(crate) const ROWS: usize = 2_000;

pub(crate) struct Running {
    pub(crate) database: Database,
    pub(crate) files: Files,
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Process,
    pub(crate) agents: Vec<Process>,
}

impl Running {
    /// Starts `agents` agents with one worker each and waits until all of them execute a row of `seconds`. `None` without a PostgreSQL.
    pub(crate) async fn start(name: &str, agents: u16, seconds: f64, more: &[&str]) -> Option<Self> {
        let database = Database::empty(name).await?;
        let files = Files::new();
        let address = address();
        let sleeps = files.sleeps(ROWS, seconds);
        let own = ["--database-url", database.url()];
        let coordinator = Process::start(run(address, agents, &[&args(&sleeps)[..], &own, more].concat()));
        let processes = (0..agents).map(|_| Process::start(agent(address, &[]))).collect();
        database.wait_for_running(i64::from(agents)).await;
        Some(Self { database, files, address, coordinator, agents: processes })
    }

    /// Starts another run on the same address with the agents that are still running, which must have returned.
    pub(crate) async fn run_again(&self, agents: u16) {
        let sleeps = self.files.sleeps(40, 0.001);
        let own = ["--database-url", self.database.url()];
        let ended = complete(run(self.address, agents, &[&args(&sleeps)[..], &own].concat())).await.expect(0);
        assert_eq!(Report::of(&ended).accounting(), (40, 0, 0));
    }
}

/// Expects the report of a run that ended early: some rows completed, none failed, the others unaccounted.
#[track_caller]
pub(crate) fn expect_partial(report: &Report, ending: &str) {
    let (completed, failed, unaccounted) = report.accounting();
    assert!(completed > 0 && unaccounted > 0, "{:?}", report.accounting());
    assert_eq!((failed, completed + unaccounted), (0, ROWS as u64));
    assert_eq!((report.text("/ending"), report.text("/verdict/status")), (ending, "DEGRADED"));
    assert_eq!(report.number("/service_time_ms/count"), completed);
}
