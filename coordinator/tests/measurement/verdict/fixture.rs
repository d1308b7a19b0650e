//! A run against the fake server whose rows take a known time, and its verdict.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::RwLockWriteGuard;

use muster_testing::exclusive;
use muster_testing::fake_postgres::{FakePostgres, QUERY};
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, complete, coordinator, run};
use muster_testing::report::Report;

pub(crate) struct Generator {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Process,
    pub(crate) agents: Vec<Process>,
    files: Files,
    pub(crate) fake: Arc<FakePostgres>,
    _exclusive: RwLockWriteGuard<'static, ()>,
}

impl Generator {
    /// Starts a coordinator that waits for `agents` agents, with `rows` rows of `script` on 40 hosts.
    pub(crate) async fn start(agents: u16, rows: usize, script: &str, more: &[&str]) -> Self {
        Self::with_scripts(agents, (0..rows).map(|_| script), more).await
    }

    /// Like [`Generator::start`], with one script for each row.
    pub(crate) async fn with_scripts<S: std::fmt::Display>(
        agents: u16,
        scripts: impl Iterator<Item = S>,
        more: &[&str],
    ) -> Self {
        let exclusive = exclusive::alone().await;
        let (fake, files, address) = (FakePostgres::start(), Files::new(), address());
        let mut csv = "hostname,script\n".to_owned();
        for (row, script) in scripts.enumerate() {
            writeln!(csv, "host_{:02},{script}", row % 40).unwrap();
        }
        let (rows, query) = (files.write("rows.csv", csv), files.write("query.sql", QUERY));
        let (url, runs) = (fake.url(), files.path().join("runs"));
        let own = [&rows, "--query", &query, "--database-url", &url, "--run-dir", runs.to_str().unwrap()];
        let mut command = run(address, agents, &[&own, more].concat());
        // These tests check the verdict, so a VOID run must not be allowed.
        command.env_remove("MUSTER_ALLOW_VOID");
        let coordinator = Process::start(command);
        Self { address, coordinator, agents: Vec::new(), files, fake: Arc::new(fake), _exclusive: exclusive }
    }

    /// Starts an agent for the next slot.
    pub(crate) fn join(&mut self, args: &[&str]) -> &mut Process {
        self.join_at(self.address, args)
    }

    pub(crate) fn join_at(&mut self, address: SocketAddr, args: &[&str]) -> &mut Process {
        let slot = self.agents.len().to_string();
        self.agents.push(Process::start(agent(address, &[&["--slot", &slot, "--once"], args].concat())));
        self.agents.last_mut().unwrap()
    }

    /// Waits until queries run.
    pub(crate) async fn armed(&mut self) {
        self.coordinator.wait_for("agents armed").await;
    }

    /// Returns the report of the run. Expects the exit code of its verdict, and that the journal yields the same report.
    pub(crate) async fn end(&mut self, allow_void: bool) -> Report {
        let ended = self.coordinator.end().await;
        let report = Report::of(&ended);
        let is_void = report.text("/verdict/status") == "VOID" && !allow_void;
        let ended = ended.expect(if is_void { 11 } else { 0 });
        let runs = self.files.path().join("runs");
        let id = report.text("/run_id");
        let again = coordinator(&["report", id, "--run-dir", runs.to_str().unwrap(), "--output", "json"]);
        assert_eq!(
            complete(again).await.expect(0).stdout,
            ended.stdout,
            "the report from the journal differs"
        );
        for reason in report.list("/verdict/reasons") {
            println!("{}: {}", report.text("/verdict/status"), reason.as_str().unwrap());
        }
        report
    }
}

/// Returns the reason with this cause; fails the test if the verdict does not have it.
#[track_caller]
pub(crate) fn reason(report: &Report, cause: &str) -> String {
    let causes = report.list("/verdict/causes");
    let position = causes.iter().position(|found| found == cause);
    let position =
        position.unwrap_or_else(|| panic!("{causes:?} does not contain {cause}: {}", evidence(report)));
    report.text(&format!("/verdict/reasons/{position}")).to_owned()
}

/// The values behind the verdict, for the message of a failed test.
fn evidence(report: &Report) -> String {
    let agents = report.list("/agents").iter().map(|agent| agent["health"].to_string());
    let (wall, service) = (report.at("/wall_time_ms"), report.at("/service_time_ms"));
    let agents = agents.collect::<Vec<_>>().join("\n");
    format!("{wall} ms of wall time, service time {service}, agents:\n{agents}\n{}", report.events())
}

/// A health figure of the agent in this slot.
#[track_caller]
pub(crate) fn health(report: &Report, slot: usize, what: &str) -> f64 {
    let found = report.at(&format!("/agents/{slot}/health/{what}"));
    found.as_f64().unwrap_or_else(|| panic!("{what} is {found}"))
}
