//! `coordinator run`: from the command line to the exit code. This file tells the order; each step is elsewhere.

use std::io::{IsTerminal, stderr, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use muster_agent::postgres::Settings;
use muster_agent::{AgentConfig, AgentError};
use muster_common::ids::{Epoch, RunId, SlotId};
use muster_common::limits;
use muster_common::result::{Ending, RunResult};
use muster_proto::control::{PrepareFailed, PrepareFailure};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::args::{OnAgentLossArg, OnBadRowArg, RunArgs, WorkloadArgs};
use super::database::{self, Choice};
use crate::demo::generate::Shape;
use crate::demo::migrate::{self, Source};
use crate::embedded::Embedded;
use crate::exit::Exit;
use crate::grpc::Listener;
use crate::output;
use crate::progress::ProgressDisplay;
use crate::run::{self, OnAgentLoss, Retried, RunError, RunPlan, Statement};
use crate::workload::{self, OnBadRow, Workload};

const DEFAULT_PORT: u16 = 50_051;

pub(super) async fn run(args: RunArgs, interrupt: CancellationToken) -> Result<Exit, Failure> {
    let address = listen_address(&args)?;
    output::check_writable(&args.output).map_err(Failure::write)?;
    let statement = super::query::statement(args.workload.query.as_deref())?;
    let display = Arc::new(match args.quiet {
        true => ProgressDisplay::quiet(),
        false => ProgressDisplay::new(stderr().is_terminal()),
    });
    let workload = open_workload(&args.workload, &statement, &display, &interrupt).await?;
    let (embedded, settings) = database(&args, &interrupt, &display).await?;
    let plan = RunPlan {
        id: new_run_id(),
        agents: args.size.agents,
        workload: Arc::new(workload),
        placement: args.workload.placement,
        statement,
        timezone: args.timezone.clone(),
        timeout: args.timeout,
        join_timeout: args.join_timeout,
        on_agent_loss: match args.on_agent_loss {
            OnAgentLossArg::Reassign => OnAgentLoss::Reassign,
            OnAgentLossArg::Fail => OnAgentLoss::Fail,
            OnAgentLossArg::Wait => OnAgentLoss::Wait,
        },
        slot_grace: args.slot_grace,
        retried: if args.include_retried { Retried::Included } else { Retried::LeftOut },
        first_epoch: Epoch::new(1),
        database_url: settings.as_ref().map(Settings::to_conninfo),
        has_local_agents: args.local,
        embedded: embedded.as_ref().map(|server| server.origin().to_owned()),
        command: command_line(),
    };
    let outcome = serve(&args, plan, address, &display, interrupt).await;
    display.finish();
    let stopped = match embedded {
        Some(server) => server.stop().await,
        None => Ok(()),
    };
    // The report first: a server that does not end must not cost an hour of results.
    let result = outcome?;
    output::write(&args.output, &mut stdout().lock(), |format| output::render(format, &result))
        .map_err(Failure::write)?;
    stopped.map_err(Failure::internal)?;
    Ok(exit_of(&result))
}

/// Reads and checks the whole file before anything else starts. On a thread of its own: standard input may never end.
pub(super) async fn open_workload(
    args: &WorkloadArgs,
    statement: &Statement,
    display: &Arc<ProgressDisplay>,
    interrupt: &CancellationToken,
) -> Result<Workload, Failure> {
    let options = workload::Options {
        host_column: args.host_column.clone(),
        parameters: statement.template().columns().to_vec(),
        checks: super::query::checks(statement),
        on_bad_row: match args.on_bad_row {
            OnBadRowArg::Fail => OnBadRow::Fail,
            OnBadRowArg::Skip => OnBadRow::Skip,
        },
        limit: args.limit,
    };
    let file = args.file.clone();
    let shown = Arc::clone(display);
    let reading = tokio::task::spawn_blocking(move || {
        workload::open(&file, &options, &mut |progress| shown.reading(&progress))
    });
    let workload = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        read = reading => read.map_err(Failure::internal)?.map_err(Failure::usage)?,
    };
    for bad in workload.bad() {
        display.say(&format!("skipped: {bad}"));
    }
    Ok(workload)
}

/// Agents of other machines come in clear and unproven for now, so that must be typed.
fn listen_address(args: &RunArgs) -> Result<SocketAddr, Failure> {
    let default_port = if args.local { 0 } else { DEFAULT_PORT };
    let address = args.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, default_port).into());
    if address.ip().is_loopback() || args.insecure {
        return Ok(address);
    }
    Err(Failure::usage(anyhow::anyhow!(
        "--listen {address} lets other machines join, and connections are neither encrypted nor authenticated; \
         listen on 127.0.0.1 and tunnel, or type --insecure to accept that on a network that you trust"
    )))
}

/// The database that the coordinator knows of: named, embedded, or none, when every agent brings its own.
async fn database(
    args: &RunArgs,
    interrupt: &CancellationToken,
    display: &ProgressDisplay,
) -> Result<(Option<Embedded>, Option<Settings>), Failure> {
    match database::choose(&args.database)? {
        Choice::Named(settings) => return Ok((None, Some(settings))),
        Choice::Nothing if !args.local => return Ok((None, None)),
        Choice::Nothing => {
            display.say("no database was named: using an embedded PostgreSQL with the demo data")
        }
        Choice::Embedded => {}
    }
    let say = |line: &str| display.say(line);
    let connections = u32::from(args.size.agents) * u32::from(args.size.workers);
    let (embedded, settings) = database::start(&args.database, connections, interrupt, &say).await?;
    let options =
        migrate::Options { source: Source::Generated(Shape::default()), index: false, replace: false };
    tokio::select! {
        () = interrupt.cancelled() => Err(Failure::interrupted()),
        migrated = migrate::migrate(&settings, &options, &say) => {
            migrated.map_err(Failure::internal)?;
            Ok((Some(embedded), Some(settings)))
        }
    }
}

/// Binds, starts the local agents if asked to, and runs.
async fn serve(
    args: &RunArgs,
    plan: RunPlan,
    address: SocketAddr,
    display: &ProgressDisplay,
    interrupt: CancellationToken,
) -> Result<RunResult, Failure> {
    let listener = Listener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; is another coordinator running? --listen chooses another address"
        )
    });
    let listener = listener.map_err(Failure::usage)?;
    let end_of_agents = CancellationToken::new();
    let mut agents = JoinSet::new();
    if args.local {
        for config in local_agents(args, listener.address()) {
            agents.spawn(muster_agent::serve(config, end_of_agents.clone()));
        }
    }
    let plan = Arc::new(plan);
    let outcome = run::run(Arc::clone(&plan), listener, display, interrupt).await;
    end_of_agents.cancel();
    if timeout(limits::CANCEL_GRACE + limits::FAREWELL_TIMEOUT, join_all(&mut agents)).await.is_err() {
        tracing::warn!("not every local agent ended; they are left to themselves");
    }
    outcome.map_err(|error| failure(error, &plan.statement))
}

async fn join_all(agents: &mut JoinSet<Result<(), AgentError>>) {
    while let Some(agent) = agents.join_next().await {
        match agent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(broken) => tracing::error!("a local agent broke: {broken}"),
        }
    }
}

fn local_agents(args: &RunArgs, address: SocketAddr) -> impl Iterator<Item = AgentConfig> {
    let coordinator: muster_agent::Coordinator =
        address.to_string().parse().expect("a socket address is a host and a port");
    let workers = args.size.workers;
    (0..args.size.agents).map(move |slot| AgentConfig {
        coordinator: coordinator.clone(),
        workers,
        slot: Some(SlotId::new(slot)),
        once: true,
        database: None,
        allow_writes: false,
    })
}

fn failure(error: RunError, statement: &Statement) -> Failure {
    let exit = match &error {
        RunError::NotJoined { .. } | RunError::NotReady { .. } => Exit::NotJoined,
        RunError::Prepare { .. } => Exit::Usage,
        RunError::Interrupted => Exit::Interrupted,
    };
    let error = match &error {
        RunError::Prepare { failed, .. } => anyhow::anyhow!("{error}{}", details(failed, statement)),
        _ => error.into(),
    };
    Failure { exit, error }
}

/// What the server added: SQLSTATE, the place in the query, detail and hint.
fn details(failed: &PrepareFailed, statement: &Statement) -> String {
    let mut text = failed.sqlstate.map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    if let (PrepareFailure::Statement, Some(position)) = (failed.kind, failed.position) {
        text.push_str(&super::query::place(statement.original(), &failed.sql, position));
    }
    for (label, line) in [("DETAIL", &failed.detail), ("HINT", &failed.hint)] {
        if let Some(line) = line {
            text.push_str(&format!("\n{label}: {line}"));
        }
    }
    if failed.sqlstate.is_some_and(|code| code.as_str() == "42P01") && failed.sql.contains("cpu_usage") {
        text.push_str("\nHINT: the demo's table is created by `coordinator migrate`");
    }
    text
}

fn exit_of(result: &RunResult) -> Exit {
    match result.ending {
        Ending::Interrupted => Exit::Interrupted,
        Ending::AgentsLost => Exit::AgentsLost,
        Ending::WorkloadUnreadable => Exit::Usage,
        Ending::Completed if result.queries.unaccounted > 0 => Exit::Unaccounted,
        Ending::Completed if result.queries.failed > 0 => Exit::QueriesFailed,
        Ending::Completed => Exit::Success,
    }
}

/// `20261123-190409-7f3a`: sorts by time, and two runs of one second differ.
fn new_run_id() -> RunId {
    use std::hash::{BuildHasher, RandomState};
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    RunId::try_new(&format!("{now}-{random:04x}")).expect("digits, dashes and 20 characters")
}

/// As typed; a value of `--database-url` may hold a password.
fn command_line() -> String {
    let mut words = Vec::new();
    let mut is_secret = false;
    for word in std::env::args_os().skip(1) {
        let word = word.to_string_lossy();
        let shown = match word.split_once('=') {
            _ if is_secret => "…".to_owned(),
            Some(("--database-url", _)) => "--database-url=…".to_owned(),
            _ => word.to_string(),
        };
        is_secret = word == "--database-url";
        words.push(shown);
    }
    format!("coordinator {}", words.join(" "))
}
