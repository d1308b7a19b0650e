//! A load whose run is kept in a directory of the test's own, so that its coordinator can be killed and another one take it up.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::files::Files;
use crate::support::journal;
use crate::support::load::{Load, Shape};
use crate::support::processes::{Ended, Process, complete, coordinator};
use crate::support::report::Report;

/// Each row writes down how many backends of an earlier coordinator's sessions were left when it ran. Epochs of two coordinators
/// are a million apart.
const ELDERS: &str = "\
CREATE FUNCTION elders() RETURNS INT LANGUAGE sql VOLATILE AS $$
    SELECT count(*)::int
    FROM pg_stat_activity, split_part(application_name, ':', 4) AS epoch
    WHERE datname = current_database() AND application_name LIKE 'muster:%' AND epoch ~ '^[0-9]+$'
      AND epoch::bigint + 500000 < split_part(current_setting('application_name'), ':', 4)::bigint
$$;
ALTER TABLE ran ADD COLUMN elders INT DEFAULT elders()";

pub(crate) struct Kept {
    pub(crate) load: Load,
    runs: PathBuf,
    _place: Option<Files>,
}

impl Kept {
    /// The coordinator, waiting for its agents. `None` without a PostgreSQL.
    pub(crate) async fn gather(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        Self::gather_within(name, shape, more, |command| command).await
    }

    /// With a coordinator that `around` puts into surroundings of its own.
    pub(crate) async fn gather_within(
        name: &str,
        shape: Shape,
        more: &[&str],
        around: impl FnOnce(Command) -> Command,
    ) -> Option<Self> {
        let place = Files::new();
        let runs = place.path().join("runs");
        let kept = Self::gather_at(runs, name, shape, more, around).await?;
        Some(Self { _place: Some(place), ..kept })
    }

    /// Kept in this directory, of which the caller disposes.
    pub(crate) async fn gather_at(
        runs: PathBuf,
        name: &str,
        shape: Shape,
        more: &[&str],
        around: impl FnOnce(Command) -> Command,
    ) -> Option<Self> {
        let own = ["--run-dir", runs.to_str().unwrap()];
        let database = Database::empty(name).await?;
        let load = Load::gather_within(database, shape, |_| {}, &[&own, more].concat(), around).await;
        load.database.execute(ELDERS).await;
        Some(Self { load, runs, _place: None })
    }

    /// In mid-run: every agent has run rows.
    pub(crate) async fn start(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        let mut kept = Self::gather(name, shape, more).await?;
        kept.join_all();
        kept.load.run().await;
        Some(kept)
    }

    /// As many agents as the run wants.
    pub(crate) fn join_all(&mut self) {
        for _ in 0..self.load.shape.agents {
            self.load.join();
        }
    }

    // -- the directory -------------------------------------------------------------------------------------------------

    /// Where the test's runs are: what `--run-dir` names.
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

    /// Every file of the run by its name, to see that nothing changed.
    pub(crate) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.dir()).unwrap().map(|file| file.unwrap());
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
    }

    // -- what is done to the run ---------------------------------------------------------------------------------------

    /// `kill -9` of the coordinator.
    pub(crate) async fn crash(&mut self) {
        self.load.coordinator.signal("KILL");
        assert_eq!(self.load.coordinator.end().await.code, None);
    }

    /// `kill -9` of everything at once: no agent has the time to notice that its coordinator is gone.
    pub(crate) async fn crash_all(&mut self) {
        self.load.agents.iter().for_each(|agent| agent.signal("STOP"));
        self.crash().await;
        for mut agent in self.load.agents.drain(..) {
            agent.signal("KILL");
            agent.end().await;
        }
    }

    /// Until every agent has noticed so many times that its coordinator is gone: what it ran is cancelled.
    pub(crate) async fn until_parked(&mut self, times: usize) {
        for agent in &mut self.load.agents {
            agent.wait_for_times(times, "joining again").await;
        }
    }

    /// Until the journal has these words; facts are JSON in it.
    pub(crate) async fn wait_for_fact(&self, words: &str) {
        journal::wait_for_fact(&self.journal(), words).await;
    }

    /// `run --resume` on the same address.
    pub(crate) fn resume(&self, more: &[&str]) -> Command {
        let (address, runs, id) = (self.load.address.to_string(), self.runs(), self.id());
        let own = ["run", "--resume", &id, "--run-dir", &runs, "--listen", &address, "--output", "json"];
        coordinator(&[&own[..], &["--database-url", self.load.database.url()], more].concat())
    }

    /// Another coordinator takes the run up.
    pub(crate) fn go_on(&mut self) {
        self.load.coordinator = Process::start(self.resume(&[]));
    }

    // -- what is told of it --------------------------------------------------------------------------------------------

    pub(crate) async fn report(&self, more: &[&str]) -> Ended {
        let (runs, id) = (self.runs(), self.id());
        let own = ["report", &id, "--run-dir", &runs, "--output", "json"];
        complete(coordinator(&[&own, more].concat())).await.expect(0)
    }

    /// The end: all that a load's end is, and `report` says the same, byte for byte.
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

    /// The end of a run that was taken up, all rows done: degraded, and nothing of before ran beside it.
    pub(crate) async fn end_whole(&mut self) -> Report {
        let report = self.end(0).await;
        assert_eq!(report.books(), (self.load.shape.rows as u64, 0, 0));
        assert_eq!((report.text("/ending"), report.text("/verdict/status")), ("completed", "DEGRADED"));
        assert!(report.at("/verdict/reasons").to_string().contains("the run was taken up again"));
        assert!(report.events().contains("the run goes on where an earlier coordinator left it"));
        let met = self.load.database.number("SELECT count(*) FROM ran WHERE elders > 0").await;
        assert_eq!(met, 0, "rows ran beside backends of an earlier coordinator");
        self.check_times(&report).await;
        report
    }

    /// One worker runs one row at a time, also across coordinators, and the run lasts as long as its samples do.
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
