//! The definition of a run: from the command line, or from the manifest of a stored run that is resumed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use muster_common::ids::RunId;
use muster_common::limits;
use muster_common::load::Load;
use muster_common::placement::Method;
use muster_common::query::Template;
use muster_common::schedule::{Process, Schedule};

use super::Failure;
use super::args::{DEFAULT_WORKLOAD, OnAgentLossArg, OnBadRowArg, RunArgs, WorkloadArgs};
use super::load::{ArrivalsArg, LoadArgs};
use super::search::SearchArgs;
use crate::run::{OnAgentLoss, Statement, Statements};
use crate::run_dir::{self, LocalAgents, Manifest};
use crate::threshold::Threshold;
use crate::workload::{OnBadRow, Options, Workload};

pub(super) struct Job {
    pub(super) id: RunId,
    pub(super) file: PathBuf,
    /// The file name as typed when the run started; the file may have moved since.
    pub(super) file_typed: String,
    pub(super) options: Options,
    pub(super) statements: Statements,
    pub(super) load: Load,
    pub(super) agents: u16,
    /// The agents that this process starts, if any.
    pub(super) local: Option<LocalAgents>,
    pub(super) placement: Method,
    pub(super) timezone: String,
    pub(super) timeout: Option<Duration>,
    pub(super) on_agent_loss: OnAgentLoss,
    pub(super) slot_grace: Duration,
    /// The command line, without secrets.
    pub(super) command: String,
    pub(super) thresholds: Vec<Threshold>,
}

impl Job {
    pub(super) fn from_args(args: &RunArgs) -> Result<Self, Failure> {
        let statements = super::query::statements(&args.workload.query)?;
        Ok(Self {
            id: new_run_id(),
            file: file(&args.workload).to_owned(),
            file_typed: file(&args.workload).display().to_string(),
            options: options(&args.workload, &statements, args.load.seed, Some(&args.timezone)),
            statements,
            load: Load { versus: args.versus.is_some(), ..load(&args.load, &args.search) },
            agents: args.agents.agents,
            local: args.local.then_some(LocalAgents { workers: args.workers }),
            placement: args.workload.placement,
            timezone: args.timezone.clone(),
            timeout: args.timeout,
            on_agent_loss: match args.on_agent_loss {
                OnAgentLossArg::Reassign => OnAgentLoss::Reassign,
                OnAgentLossArg::Fail => OnAgentLoss::Fail,
                OnAgentLossArg::Wait => OnAgentLoss::Wait,
            },
            slot_grace: args.slot_grace,
            command: command_line(),
            thresholds: args.thresholds.iter().flat_map(|list| list.0.clone()).collect(),
        })
    }

    /// Restores the run that `manifest` describes. Options that do not affect its rows come from `args`: listen address, timeouts, output.
    pub(super) fn from_manifest(args: &RunArgs, manifest: &Manifest) -> Result<Self, Failure> {
        let workload = &manifest.workload;
        let file = args.workload.file.clone().or_else(|| workload.path.clone()).ok_or_else(|| {
            let file = &workload.file;
            Failure::usage(anyhow!(
                "the rows of run {} came from '{file}', which cannot be read again; pass a file with the same rows",
                manifest.run_id
            ))
        })?;
        Ok(Self {
            id: manifest.run_id.clone(),
            file,
            file_typed: workload.file.clone(),
            options: workload.options.clone(),
            statements: statements(&manifest.statements)?,
            load: manifest.load.clone(),
            agents: manifest.agents,
            local: manifest.local,
            placement: manifest.placement,
            timezone: manifest.timezone.clone(),
            timeout: manifest.timeout_ms.map(from_milliseconds).transpose()?,
            on_agent_loss: match manifest.on_agent_loss {
                run_dir::OnAgentLoss::Reassign => OnAgentLoss::Reassign,
                run_dir::OnAgentLoss::Fail => OnAgentLoss::Fail,
                run_dir::OnAgentLoss::Wait => OnAgentLoss::Wait,
            },
            slot_grace: from_milliseconds(manifest.slot_grace_ms)?,
            command: manifest.command.clone(),
            thresholds: manifest.thresholds.clone(),
        })
    }

    /// The manifest from which this run can be resumed.
    pub(super) fn manifest(
        &self,
        workload: &Workload,
        listen: Option<SocketAddr>,
        embedded: Option<String>,
    ) -> Manifest {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Manifest {
            run_id: self.id.clone(),
            created_at: jiff::Timestamp::now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.command.clone(),
            workload: run_dir::Workload::of(workload, &self.file, self.options.clone()),
            agents: self.agents,
            placement: self.placement,
            statements: self
                .statements
                .iter()
                .map(|statement| run_dir::Statement {
                    name: statement.name().to_owned(),
                    sql: statement.original().map(|(source, _)| source.to_owned()),
                    weight: statement.weight(),
                })
                .collect(),
            load: self.load.clone(),
            timezone: self.timezone.clone(),
            timeout_ms: self.timeout.map(milliseconds),
            on_agent_loss: match self.on_agent_loss {
                OnAgentLoss::Reassign => run_dir::OnAgentLoss::Reassign,
                OnAgentLoss::Fail => run_dir::OnAgentLoss::Fail,
                OnAgentLoss::Wait => run_dir::OnAgentLoss::Wait,
            },
            slot_grace_ms: milliseconds(self.slot_grace),
            // Port 0 means that no port is opened.
            listen: listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()),
            local: self.local,
            embedded,
            thresholds: self.thresholds.clone(),
        }
    }
}

fn from_milliseconds(time_ms: f64) -> Result<Duration, Failure> {
    let time =
        Duration::try_from_secs_f64(time_ms / 1e3).ok().filter(|time| *time <= limits::OPTION_TIME_MAX);
    time.ok_or_else(|| {
        Failure::usage(anyhow!("the run's manifest contains an invalid duration: {time_ms} ms"))
    })
}

/// Row ids are positions in the file, so with another file, results would be counted for rows that never ran.
pub(super) fn check_same(manifest: &Manifest, workload: &Workload) -> Result<(), Failure> {
    let recorded = &manifest.workload;
    let check = || {
        ensure!(
            recorded.sha256 == workload.sha256() && recorded.rows == workload.rows(),
            "'{}' is not the file of run {}: expected sha256 {}, found {}; a run can only be resumed with the same rows",
            workload.file(),
            manifest.run_id,
            recorded.sha256,
            workload.sha256(),
        );
        Ok(())
    };
    check().map_err(Failure::usage)
}

pub(super) fn file(args: &WorkloadArgs) -> &Path {
    args.file.as_deref().unwrap_or(Path::new(DEFAULT_WORKLOAD))
}

/// How to read the workload file. `seed` determines the queries of a mix. `timezone` is the time zone of the sessions, if known.
pub(super) fn options(
    args: &WorkloadArgs,
    statements: &Statements,
    seed: u64,
    timezone: Option<&str>,
) -> Options {
    Options {
        host_column: args.host_column.clone(),
        parameters: super::query::columns(statements),
        mix: super::query::choice(statements, &args.query_column, seed),
        checks: super::query::checks(statements, timezone),
        on_bad_row: match args.on_bad_row {
            OnBadRowArg::Fail => OnBadRow::Fail,
            OnBadRowArg::Skip => OnBadRow::Skip,
        },
        limit: args.limit,
    }
}

fn load(args: &LoadArgs, search: &SearchArgs) -> Load {
    let seed = args.seed;
    let process = match args.arrivals {
        ArrivalsArg::Uniform => Process::Uniform,
        ArrivalsArg::Poisson => Process::Poisson,
    };
    Load {
        protocol: args.protocol,
        plan_cache_mode: args.plan_cache_mode,
        results: args.results,
        schedule: args.rate.clone().map(|rate| Schedule { rate, process, seed }),
        think_time: args.think_time.unwrap_or_default(),
        warmup: args.warmup,
        repeat: args.repeat,
        duration: args.duration,
        search: search.plan(process),
        seed,
        versus: false,
    }
}

pub(super) fn statements(recorded: &[run_dir::Statement]) -> Result<Statements, Failure> {
    let own = |recorded: &run_dir::Statement, source: &String| {
        let (name, weight) = (recorded.name.clone(), recorded.weight);
        let template = Template::parse(source).map_err(Failure::usage)?;
        Ok(Statement::Own { name, source: source.clone(), template, weight })
    };
    let mut all = Vec::with_capacity(recorded.len());
    for recorded in recorded {
        match &recorded.sql {
            None => return super::query::statements(&[]),
            Some(source) => all.push(own(recorded, source)?),
        }
    }
    let mut all = all.into_iter();
    let first =
        all.next().ok_or_else(|| Failure::usage(anyhow!("the run's manifest contains no statement")))?;
    Ok(Statements::new(first, all.collect()))
}

/// Returns an id such as `20261123-190409-7f3a`: ids sort by time, and two runs started in the same second differ.
fn new_run_id() -> RunId {
    use std::hash::{BuildHasher, RandomState};
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    RunId::try_new(&format!("{now}-{random:04x}")).expect("digits, dashes and 20 characters")
}

/// The command line as typed, without database URLs, which may contain a password.
fn command_line() -> String {
    without_secrets(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()))
}

fn without_secrets(words: impl Iterator<Item = String>) -> String {
    let mut shown = vec!["coordinator".to_owned()];
    let mut is_secret = false;
    for word in words {
        shown.push(match word.split_once('=') {
            _ if is_secret => "…".to_owned(),
            Some((option @ ("--database-url" | "--versus"), _)) => format!("{option}=…"),
            _ if word.contains("://") || word.contains("password=") => "…".to_owned(),
            _ => word.clone(),
        });
        is_secret = word == "--database-url" || word == "--versus";
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_survives_the_manifest() {
        for nanoseconds in [0, 1, 500_000, 30_000_000_000, 31_622_400_000_000_000] {
            let time = Duration::from_nanos(nanoseconds);
            assert_eq!(from_milliseconds(time.as_secs_f64() * 1e3).unwrap(), time);
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e18] {
            assert!(from_milliseconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_stored_command_line_contains_no_database_urls() {
        let check = |words: &str, expected: &str| {
            assert_eq!(without_secrets(words.split(' ').map(str::to_owned)), expected);
        };
        check(
            "run --database-url postgresql://u:s3cret@h rows.csv",
            "coordinator run --database-url … rows.csv",
        );
        check("run --versus=host=h rows.csv", "coordinator run --versus=… rows.csv");
        check("run postgresql://u:s3cret@h", "coordinator run …");
        check("run --query=postgresql://u:s3cret@h", "coordinator run …");
    }
}
