//! A load whose run is stored in the test's own directory, so that its coordinator can be killed and another one can resume it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tokio::process::Command;

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::journal;
use muster_testing::load::{Load, Shape};
use muster_testing::processes::{Ended, Process, complete, coordinator};
use muster_testing::report::Report;

/// Each row records how many backends of an earlier coordinator's sessions existed when it ran. Epochs of two coordinators are a million
/// apart.
const EARLIER_BACKENDS: &str = "\
CREATE FUNCTION earlier_backends() RETURNS INT LANGUAGE sql VOLATILE AS $$
    SELECT count(*)::int
    FROM pg_stat_activity, split_part(application_name, ':', 4) AS epoch
    WHERE datname = current_database() AND application_name LIKE 'muster:%' AND epoch ~ '^[0-9]+$'
      AND epoch::bigint + 500000 < split_part(current_setting('application_name'), ':', 4)::bigint
$$;
ALTER TABLE ran ADD COLUMN earlier_backends INT DEFAULT earlier_backends()";

pub(crate) struct KeptRun {
    pub(crate) load: Load,
    runs: PathBuf,
    _directory: Option<Files>,
}

impl KeptRun {
    /// Starts the coordinator, which waits for its agents. `None` without a PostgreSQL installation.
    pub(crate) async fn start_coordinator(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        Self::start_coordinator_with(name, shape, more, |command| command).await
    }

    /// Starts it with a command that `around` has wrapped.
    pub(crate) async fn start_coordinator_with(
        name: &str,
        shape: Shape,
        more: &[&str],
        around: impl FnOnce(Command) -> Command,
    ) -> Option<Self> {
        let directory = Files::new();
        let runs = directory.path().join("runs");
        let kept = Self::start_coordinator_at(runs, name, shape, more, around).await?;
        Some(Self { _directory: Some(directory), ..kept })
    }

    /// Starts it with the run stored in this directory, which the caller removes.
    pub(crate) async fn start_coordinator_at(
        runs: PathBuf,
        name: &str,
        shape: Shape,
        more: &[&str],
        around: impl FnOnce(Command) -> Command,
    ) -> Option<Self> {
        let own = ["--run-dir", runs.to_str().unwrap()];
        let database = Database::empty(name).await?;
        let load =
            Load::start_coordinator_with(database, shape, |_| {}, &[&own, more].concat(), around).await;
        load.database.execute(EARLIER_BACKENDS).await;
        Some(Self { load, runs, _directory: None })
    }

    /// Starts a coordinator and its agents and waits until every agent has run rows.
    pub(crate) async fn start(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        let mut kept = Self::start_coordinator(name, shape, more).await?;
        kept.join_all();
        kept.load.wait_until_running().await;
        Some(kept)
    }

    /// Starts as many agents as the run has slots.
    pub(crate) fn join_all(&mut self) {
        for _ in 0..self.load.shape.agents {
            self.load.join();
        }
    }

    // -- the directory -------------------------------------------------------------------------------------------------

    /// The directory of the test's runs, for `--run-dir`.
    pub(crate) fn runs(&self) -> String {
        self.runs.to_str().unwrap().to_owned()
    }

    /// The directory of the only run.
    pub(crate) fn dir(&self) -> PathBuf {
        let entries: Vec<PathBuf> =
            fs::read_dir(self.runs()).unwrap().map(|run| run.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.into_iter().next().unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.dir().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir().join("journal")
    }

    /// The content of every file of the run by its name, to check that nothing changed.
    pub(crate) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.dir()).unwrap().map(|file| file.unwrap());
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
    }

    // -- actions -------------------------------------------------------------------------------------------------------

    /// Kills the coordinator with SIGKILL.
    pub(crate) async fn crash(&mut self) {
        self.load.coordinator.signal("KILL");
        assert_eq!(self.load.coordinator.end().await.code, None);
    }

    /// Kills all processes at once, so that no agent can notice that its coordinator is gone.
    pub(crate) async fn crash_all(&mut self) {
        self.load.agents.iter().for_each(|agent| agent.signal("STOP"));
        self.crash().await;
        for mut agent in self.load.agents.drain(..) {
            agent.signal("KILL");
            agent.end().await;
        }
    }

    /// Waits until every agent has noticed this many times that its coordinator is gone and has cancelled what it ran.
    pub(crate) async fn wait_until_parked(&mut self, times: usize) {
        for agent in &mut self.load.agents {
            agent.wait_for_times(times, "joining again").await;
        }
    }

    /// Waits until the journal contains this text. Facts are stored as JSON.
    pub(crate) async fn wait_for_fact(&self, text: &str) {
        journal::wait_for_fact(&self.journal(), text).await;
    }

    /// The command `run --resume` with the same address.
    pub(crate) fn resume_command(&self, more: &[&str]) -> Command {
        let (address, runs, id) = (self.load.address.to_string(), self.runs(), self.id());
        let own = ["run", "--resume", &id, "--run-dir", &runs, "--listen", &address, "--output", "json"];
        coordinator(&[&own[..], &["--database-url", self.load.database.url()], more].concat())
    }

    /// Starts another coordinator that resumes the run.
    pub(crate) fn resume(&mut self) {
        self.load.coordinator = Process::start(self.resume_command(&[]));
    }

    // -- reports -------------------------------------------------------------------------------------------------------

    pub(crate) async fn report(&self, more: &[&str]) -> Ended {
        let (runs, id) = (self.runs(), self.id());
        let own = ["report", &id, "--run-dir", &runs, "--output", "json"];
        complete(coordinator(&[&own, more].concat())).await.expect(0)
    }

    /// Like [`Load::end`]; also expects that `report` prints the same result, byte for byte.
    pub(crate) async fn end(&mut self, code: i32) -> Report {
        let ended = self.load.coordinator.end().await.expect(code);
        let report = self.load.check(&ended).await;
        let again = self.report(&[]).await;
        assert_eq!(again.stdout, ended.stdout);
        assert_eq!(again.stderr, "");
        assert_eq!(fs::read_to_string(self.dir().join("report.json")).unwrap(), ended.stdout);
        self.load.leave().await;
        report
    }

    /// Expects that a resumed run completes all rows: it is DEGRADED, and no query of an earlier session overlapped.
    pub(crate) async fn end_complete(&mut self) -> Report {
        let report = self.end(0).await;
        assert_eq!(report.accounting(), (self.load.shape.rows as u64, 0, 0));
        assert_eq!((report.text("/ending"), report.text("/verdict/status")), ("completed", "DEGRADED"));
        assert!(report.at("/verdict/reasons").to_string().contains("the run was resumed"));
        assert!(report.events().contains("the run continues where an earlier coordinator left off"));
        let overlapped =
            self.load.database.number("SELECT count(*) FROM ran WHERE earlier_backends > 0").await;
        assert_eq!(overlapped, 0, "rows ran beside backends of an earlier coordinator");
        self.check_times(&report).await;
        report
    }

    /// Checks that each worker runs one row at a time, also across coordinators, and that the run's wall time ends with its last sample.
    async fn check_times(&self, report: &Report) {
        let file = self.load.files.path().join("samples.csv");
        self.report(&["--samples", file.to_str().unwrap()]).await;
        let mut reader = csv::Reader::from_path(file).unwrap();
        let mut times: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for sample in reader.deserialize::<BTreeMap<String, String>>() {
            let sample = sample.unwrap();
            let number = |column: &str| sample[column].parse::<u64>().unwrap();
            let start = number("start_ns");
            times
                .entry(sample["worker"].clone())
                .or_default()
                .push((start, start + number("service_time_ns")));
        }
        let mut last_end = 0;
        for (worker, mut times) in times {
            times.sort_unstable();
            for pair in times.windows(2) {
                assert!(
                    pair[1].0 >= pair[0].1,
                    "{worker} began a row before the last one had ended: {pair:?}"
                );
            }
            last_end = last_end.max(times.last().unwrap().1);
        }
        let wall_ms = report.at("/wall_time_ms").as_f64().unwrap();
        assert!(
            (wall_ms - last_end as f64 / 1e6).abs() < 0.001,
            "{wall_ms} ms, and the last row ends at {last_end} ns"
        );
    }
}
