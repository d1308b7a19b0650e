//! The definition of a run: from the command line, or from the manifest of a stored run that is resumed.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, ensure};
use muster_core::ids::RunId;
use muster_core::load::Load;
use muster_core::schedule::{Process, Schedule};
use muster_core::session_spec::{SessionSpec, Statements};

use super::Failure;
use super::args::{DEFAULT_WORKLOAD, RunArgs, WorkloadArgs};
use super::load::{ArrivalsArg, LoadArgs};
use super::search::SearchArgs;
use crate::spec::{Content, LocalAgents, RunSpec, WorkloadSpec};
use crate::workload::{Options, Workload};

/// Returns the definition of a new run, before its workload is read.
pub(super) fn from_args(args: &RunArgs) -> Result<RunSpec, Failure> {
    let statements = super::query::statements(&args.workload.query)?;
    let options = options(&args.workload, &statements, args.load.seed, Some(&args.timezone));
    Ok(RunSpec {
        run_id: new_run_id(),
        command: command_line(),
        workload: WorkloadSpec::unread(file(&args.workload), options),
        agents: args.agents.agents,
        placement: args.workload.placement,
        session: SessionSpec {
            statements,
            load: Load { versus: args.versus.is_some(), ..load(&args.load, &args.search) },
            timezone: args.timezone.clone(),
            timeout: args.timeout,
        },
        on_agent_loss: args.on_agent_loss,
        slot_grace: args.slot_grace,
        local: args.local.then_some(LocalAgents { workers: args.workers }),
        embedded: None,
        thresholds: args.thresholds.iter().flat_map(|list| list.0.clone()).collect(),
    })
}

/// Returns the path of the workload. A resumed run reads it from where it was, unless another path is given.
pub(super) fn path(args: &RunArgs, resumed: Option<&RunSpec>) -> Result<PathBuf, Failure> {
    match (resumed, &args.workload.file) {
        (None, _) => Ok(file(&args.workload).to_owned()),
        (Some(_), Some(moved)) => Ok(moved.clone()),
        (Some(RunSpec { run_id, workload, .. }), None) => workload.path.clone().ok_or_else(|| {
            let file = &workload.file;
            Failure::usage(anyhow!(
                "the rows of run {run_id} came from '{file}', which cannot be read again; pass a file with the same rows"
            ))
        }),
    }
}

/// Row ids are positions in the file, so with another file, results would be counted for rows that never ran.
pub(super) fn check_same(resumed: &RunSpec, workload: &Workload) -> Result<(), Failure> {
    let (recorded, found) = (&resumed.workload.content, Content::of(workload));
    let check = || {
        ensure!(
            recorded.sha256 == found.sha256 && recorded.rows == found.rows,
            "'{}' is not the file of run {}: expected sha256 {}, found {}; a run can only be resumed with the same rows",
            workload.file(),
            resumed.run_id,
            recorded.sha256,
            found.sha256,
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
        on_bad_row: args.on_bad_row,
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
