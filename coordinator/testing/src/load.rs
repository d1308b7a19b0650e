//! A run whose rows leave evidence on the server. Each row's query takes the lock of its host if it is free, waits at a gate that the
//! test can close, sleeps, and records the session that ran it and whether it got the lock. So the server knows how often each row ran,
//! where, and whether two queries of a host overlapped. The result contains this too, so that the digest covers it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_postgres::Client;

use crate::database::Database;
use crate::files::Files;
use crate::processes::{Ended, Process, address, agent, complete, coordinator, run};
use crate::report::Report;

/// The columns are evaluated from left to right: the gate and the sleep run while the host's lock is held.
const TABLE: &str = "CREATE TABLE ran (id INT, host TEXT, session TEXT, alone BOOL, passed TEXT, slept TEXT)";
const STATEMENT: &str = "\
INSERT INTO ran
SELECT :id::int, :hostname::text, current_setting('application_name'),
       pg_try_advisory_xact_lock(hashtext(:hostname::text)),
       pg_advisory_xact_lock_shared(1, 1)::text, pg_sleep(:seconds::float8)::text
RETURNING id, host, alone";
/// Returns the same results without writing or sleeping. A row whose seconds are `none` fails.
const ANSWERS: &str = "SELECT :id::int, :hostname::text, :seconds::float8 >= 0";

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub agents: u16,
    pub rows: usize,
    /// The time that each row sleeps.
    pub seconds: f64,
}

/// Enough that two or three agents get similar shares: the smallest of three, with 15 hosts, still works for more than a second.
const HOSTS: usize = 60;

/// Two to three seconds without faults, and enough rows that every agent is busy during the first second.
pub const THREE: Shape = Shape { agents: 3, rows: 600, seconds: 0.01 };
pub const TWO: Shape = Shape { agents: 2, rows: 400, seconds: 0.01 };

pub struct Load {
    pub database: Database,
    pub address: SocketAddr,
    pub coordinator: Process,
    pub agents: Vec<Process>,
    pub files: Files,
    pub shape: Shape,
}

/// While this value lives, running queries wait at the gate.
pub struct Gate(Client);

impl Gate {
    pub async fn open(self) {
        self.0.batch_execute("SELECT pg_advisory_unlock(1, 1)").await.unwrap();
    }
}

impl Load {
    /// Starts the coordinator, which waits for its agents. `None` without a PostgreSQL installation.
    pub async fn start_coordinator(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        let database = Database::empty(name).await?;
        Some(Self::start_coordinator_on(database, shape, |_| {}, more).await)
    }

    /// Starts it on an existing database. `change` can change the host and the seconds of each row.
    pub async fn start_coordinator_on(
        database: Database,
        shape: Shape,
        change: impl Fn(&mut Row),
        more: &[&str],
    ) -> Self {
        Self::start_coordinator_with(database, shape, change, more, |command| command).await
    }

    /// Starts it with a command that `around` has wrapped.
    pub async fn start_coordinator_with(
        database: Database,
        shape: Shape,
        change: impl Fn(&mut Row),
        more: &[&str],
        around: impl FnOnce(Command) -> Command,
    ) -> Self {
        database.execute(TABLE).await;
        let files = Files::new();
        let rows = files.write("rows.csv", csv(shape, change));
        let query = files.write("ran.sql", STATEMENT);
        files.write("answers.sql", ANSWERS);
        let address = address();
        let own = [&rows, "--query", &query, "--database-url", database.url()];
        let coordinator = Process::start(around(run(address, shape.agents, &[&own, more].concat())));
        Self { database, address, coordinator, agents: Vec::new(), files, shape }
    }

    /// Starts a coordinator and its agents and waits until every agent has run rows.
    pub async fn start(name: &str, shape: Shape, more: &[&str]) -> Option<Self> {
        let mut load = Self::start_coordinator(name, shape, more).await?;
        for _ in 0..shape.agents {
            load.join();
        }
        load.wait_until_running().await;
        Some(load)
    }

    /// Starts one more agent.
    pub fn join(&mut self) -> &mut Process {
        self.join_at(self.address)
    }

    /// Starts an agent that dials another address, such as a proxy's.
    pub fn join_at(&mut self, address: SocketAddr) -> &mut Process {
        self.join_with(address, &[])
    }

    pub fn join_with(&mut self, address: SocketAddr, args: &[&str]) -> &mut Process {
        self.agents.push(Process::start(agent(address, &[&["--allow-writes"], args].concat())));
        self.agents.last_mut().unwrap()
    }

    /// Waits until as many sessions as the run has agents have run rows.
    pub async fn wait_until_running(&mut self) {
        let sessions = "SELECT count(DISTINCT session) FROM ran";
        self.database.wait_for(self.shape.agents.into(), sessions).await;
    }

    /// Closes the gate and waits until `queries` queries wait at it, or does not wait for 0. No row completes while it is closed.
    pub async fn close_gate(&self, queries: u16) -> Gate {
        let session = self.database.session().await;
        session.batch_execute("SELECT pg_advisory_lock(1, 1)").await.unwrap();
        if queries > 0 {
            self.wait_at_gate(queries).await;
        }
        Gate(session)
    }

    pub async fn wait_at_gate(&self, queries: u16) {
        let waiting = self.database.workers("wait_event_type = 'Lock' AND wait_event = 'advisory'");
        self.database.wait_for(queries.into(), &waiting).await;
    }

    /// Waits until the coordinator has logged `times` events that begin with `what`. It prints each on stderr and logs it; the log is
    /// counted.
    pub async fn wait_for_events(&mut self, times: usize, what: &str) {
        self.coordinator.wait_for_times(times, &format!("events: {what}")).await;
    }

    /// Returns the run's journal, in the run directory that the coordinator prints.
    pub async fn journal(&mut self) -> PathBuf {
        let stderr = self.coordinator.wait_for("run directory: ").await;
        let (_, directory) = stderr.split_once("run directory: ").unwrap();
        Path::new(directory.lines().next().unwrap()).join("journal")
    }

    /// Waits until the coordinator has counted rows, which happens after the server has run them.
    pub async fn wait_until_counted(&mut self) {
        let journal = self.journal().await;
        let run = journal.parent().unwrap();
        let (runs, id) =
            (run.parent().unwrap().to_str().unwrap(), run.file_name().unwrap().to_str().unwrap());
        loop {
            let report = complete(coordinator(&["report", id, "--run-dir", runs, "--output", "json"])).await;
            if Report::of(&report.expect(0)).accounting().0 > 0 {
                return;
            }
        }
    }

    /// Kills an agent and returns its slot.
    pub async fn kill(&mut self, index: usize) -> String {
        let mut killed = self.agents.remove(index);
        killed.signal("KILL");
        killed.end().await;
        slot_of(&killed)
    }

    /// Kills an agent that has a query in flight.
    pub async fn kill_in_flight(&mut self, index: usize) -> String {
        let gate = self.close_gate(self.shape.agents).await;
        let slot = self.kill(index).await;
        self.coordinator.wait_for(&format!("{slot} lost")).await;
        gate.open().await;
        slot
    }

    /// Waits until no query has run for a while: the remaining agents have run all their rows.
    pub async fn wait_until_idle(&self) {
        let busy = "state <> 'idle' OR state_change > clock_timestamp() - INTERVAL '0.3 s'";
        self.database.wait_for(0, &self.database.workers(busy)).await;
    }

    /// The number of rows that ran while another query of their host was running; expected to be 0.
    async fn overlaps(&self) -> i64 {
        self.database.number("SELECT count(*) FROM ran WHERE NOT alone").await
    }

    /// The number of additional executions of rows that ran more than once to their end.
    pub async fn reruns(&self) -> i64 {
        self.database.number("SELECT count(*) - count(DISTINCT id) FROM ran").await
    }

    /// The slots in which each host's rows ran, according to the server.
    pub async fn slots_of_hosts(&self) -> BTreeMap<String, Vec<String>> {
        let sql = "SELECT host, array_agg(DISTINCT split_part(session, ':', 3)) FROM ran GROUP BY host";
        let rows = self.database.session().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Waits for the end of the run: expects this exit code and a correct report, stops the agents, and expects no connection on the
    /// server.
    pub async fn end(&mut self, code: i32) -> Report {
        let ended = self.coordinator.end().await.expect(code);
        let report = self.check(&ended).await;
        self.leave().await;
        report
    }

    /// Stops the agents with SIGTERM and waits until no connection is left on the server.
    pub async fn leave(&mut self) {
        for mut agent in self.agents.drain(..) {
            agent.signal("TERM");
            agent.end().await.expect(0);
        }
        self.database.wait_for_no_workers().await;
    }

    /// Compares the report with the server's own count and with an undisturbed run.
    pub async fn check(&self, ended: &Ended) -> Report {
        let report = Report::of(ended);
        let (completed, failed, unaccounted) = report.accounting();
        assert_eq!(completed + failed + unaccounted, self.shape.rows as u64);
        let ran = self.database.number("SELECT count(DISTINCT id) FROM ran").await;
        let is_whole = failed + unaccounted == 0;
        assert!(
            ran as u64 == completed || !is_whole && ran as u64 > completed,
            "{ran} rows ran: {:?}",
            report.accounting()
        );
        assert_eq!(self.overlaps().await, 0, "two queries of a host ran side by side");
        let reported = report.number("/queries/retried") + report.number("/queries/duplicates");
        let reruns = self.reruns().await as u64;
        assert!(reruns <= reported, "{reruns} rows ran again, {reported} are reported: {}", report.events());
        let timed = report.at("/service_time_ms").get("count").map_or(0, |count| count.as_u64().unwrap());
        let retried = report.number("/queries/retried");
        let with_retried = report.text("/tool/command").contains("--include-retried");
        assert_eq!(timed, if with_retried { completed } else { completed - retried });
        let undisturbed = self.undisturbed_without(&self.not_completed(&report).await).await;
        for what in ["/result/digest", "/result/rows", "/result/bytes"] {
            assert_eq!(report.at(what), undisturbed.at(what), "{what}: a result is missing or duplicated");
        }
        report
    }

    /// The rows without a result: those that are listed, and those that failed, which are not in the server's table.
    async fn not_completed(&self, report: &Report) -> BTreeSet<usize> {
        let sql = format!(
            "SELECT id FROM generate_series(0, {} - 1) id EXCEPT SELECT id FROM ran",
            self.shape.rows
        );
        let mut missing: BTreeSet<usize> = unaccounted(report).collect();
        if report.number("/queries/failed") > 0 {
            let never_ran = self.database.session().await.query(&sql, &[]).await.unwrap();
            missing.extend(never_ran.iter().map(|row| row.get::<_, i32>(0) as usize));
        }
        let (_, failed, unaccounted) = report.accounting();
        assert_eq!(missing.len() as u64, failed + unaccounted, "a failed row wrote nothing");
        missing
    }

    /// Runs the same rows without faults.
    pub async fn undisturbed(&self) -> Report {
        self.undisturbed_without(&BTreeSet::new()).await
    }

    async fn undisturbed_without(&self, without: &BTreeSet<usize>) -> Report {
        let path = |name: &str| self.files.path().join(name).to_str().unwrap().to_owned();
        let rows = self.files.read("rows.csv");
        let mut changed = String::new();
        for (number, line) in rows.lines().enumerate() {
            let is_missing = number > 0 && without.contains(&(number - 1));
            let line =
                if is_missing { format!("{},none", line.rsplit_once(',').unwrap().0) } else { line.into() };
            writeln!(changed, "{line}").unwrap();
        }
        let (changed, answers) = (self.files.write("undisturbed.csv", changed), path("answers.sql"));
        let agents = self.shape.agents.to_string();
        let head = ["run", "--local", "--agents", &agents, "--output", "json"];
        let own = [&changed, "--query", &answers, "--database-url", self.database.url()];
        let code = if without.is_empty() { 0 } else { 14 };
        Report::of(&complete(coordinator(&[&head[..], &own].concat())).await.expect(code))
    }
}

/// One row of the workload.
pub struct Row {
    pub id: usize,
    pub host: String,
    pub seconds: f64,
}

fn csv(shape: Shape, change: impl Fn(&mut Row)) -> String {
    let mut csv = "hostname,id,seconds\n".to_owned();
    for id in 0..shape.rows {
        let mut row = Row { id, host: format!("host_{:02}", id % HOSTS), seconds: shape.seconds };
        change(&mut row);
        writeln!(csv, "{},{},{}", row.host, row.id, row.seconds).unwrap();
    }
    csv
}

fn unaccounted(report: &Report) -> impl Iterator<Item = usize> {
    let bound = |range: &serde_json::Value, end: usize| range[end].as_u64().unwrap() as usize;
    let ranges = report.list("/queries/unaccounted_rows").iter();
    ranges.flat_map(move |range| bound(range, 0)..=bound(range, 1))
}

/// The slot that an agent was given last, such as `slot-1`; empty if it has none yet.
pub fn slot_of(agent: &Process) -> String {
    let stderr = agent.stderr();
    let slot = |line: &str| Some(line.split_once("joined run ")?.1.split_once(" as ")?.1.trim().to_owned());
    stderr.lines().rev().find_map(slot).unwrap_or_default()
}

/// The slot of each host at the end of a run.
pub fn hosts_of(report: &Report) -> BTreeMap<String, String> {
    let text = |host: &serde_json::Value, name: &str| host[name].as_str().unwrap().to_owned();
    let slot = |host| text(host, "worker").split('/').next().unwrap().to_owned();
    report.list("/hosts").iter().map(|host| (text(host, "host"), slot(host))).collect()
}

/// The entry of this slot in a report.
#[track_caller]
pub fn agent_of<'a>(report: &'a Report, slot: &str) -> &'a serde_json::Value {
    report.list("/agents").iter().find(|agent| agent["slot"] == slot).unwrap()
}
