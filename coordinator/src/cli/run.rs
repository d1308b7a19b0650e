//! `coordinator run`: from the command line to the exit code. This file orders the steps, which are implemented elsewhere.

use std::io::{self, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use muster_agent::runtime::{Network, Runtime};
use muster_agent::{AgentConfig, AgentError};
use muster_core::ids::SlotId;
use muster_core::limits;
use muster_core::load::Warmup;
use muster_core::passes::Passes;
use muster_core::prepare::{PrepareFailed, PrepareFailure};
use muster_core::query::name_parameters;
use muster_core::session_spec::{Statement, Statements};
use muster_net::address::{Coordinator, Coordinators};
use muster_postgres::handed_over_url::NotHandedOver;
use muster_postgres::{RoleRule, Settings};
use muster_process::blocking::blocking;
use muster_process::logging::Terminal;
use muster_proto::control::WITHHELD;
use muster_report::result::Ending;
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::ListenConfig;
use super::args::RunArgs;
use super::run_store::{ResumedRun, RunStore};
use super::{Failure, database, live, outcome, run_spec, run_store};
use crate::exit::Exit;
use crate::grpc::{Incoming, Listener, in_process};
use crate::journal::Writer;
use crate::output;
use crate::progress::ProgressDisplay;
use crate::run::{self, Live, Metrics, Outcome, Replayed, Retried, RunError, RunPlan};
use crate::run_dir::Manifest;
use crate::spec::{Content, LocalAgents, RunSpec};
use crate::threshold::Threshold;
use crate::workload::{self, Workload};

pub(super) async fn run(args: RunArgs, interrupt: CancellationToken) -> Result<Exit, Failure> {
    muster_process::fd_limit::raise_fd_limit();
    let resumed = args.resume.as_deref().map(|run| run_store::find(args.run_dir.run_dir.as_deref(), run));
    let resumed = resumed.transpose()?;
    let recorded = resumed.as_ref().map(|dir| dir.manifest().spec.clone());
    let mut spec = match &recorded {
        None => run_spec::from_args(&args)?,
        Some(recorded) => recorded.clone(),
    };
    let versus = database::versus(&args, &spec)?;
    let listen = ListenConfig::from_args(&args.listen, spec.local.is_some())?;
    output::check_writable(&args.output).map_err(Failure::write)?;
    if args.output.hlog().is_some() && args.run_dir.no_run_dir {
        return Err(Failure::usage(anyhow::anyhow!(
            "--output hlog is written from the journal of the run; leave out --no-run-dir"
        )));
    }
    let display = Arc::new(match args.quiet {
        true => ProgressDisplay::quiet(),
        false if args.tui => {
            ProgressDisplay::dashboard(Terminal::of_process().moves_cursor(), muster_process::logging::rows())
        }
        false => ProgressDisplay::new(Terminal::of_process().moves_cursor()),
    });
    // Metrics are served until the reports are written.
    let (metrics, server) = Metrics::serve(args.metrics).await.map_err(Failure::usage)?;
    if let Some(server) = &server {
        display.println(&format!("metrics at http://{}/metrics", server.address()));
    }
    let so_far = if args.web.is_some() || display.is_dashboard() { Live::enabled() } else { Live::default() };
    let web = match args.web {
        Some(address) => Some(live::serve_page(address, &listen, so_far.clone(), &display).await?),
        None => None,
    };
    let retried = if args.include_retried { Retried::Included } else { Retried::LeftOut };
    let explain_slowest = args.explain_slowest.unwrap_or(0);
    let read = |dir| ResumedRun::read(dir, retried, explain_slowest, metrics.are_enabled(), &display);
    let resumed = resumed.map(read).transpose()?;
    let (workload, passes) = read_workload(&args, &mut spec, recorded.as_ref(), &display, &interrupt).await?;
    let (embedded, settings) =
        database::of_run(&args, &spec, recorded.as_ref(), &interrupt, &display).await?;
    spec.embedded = embedded.as_ref().map(|server| server.origin().to_owned());
    let (store, resumed) = match resumed {
        Some(resumed) => {
            let (store, replayed) = resumed.begin()?;
            (Some(store), Some(replayed))
        }
        None => {
            let address = listen.address.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
            let manifest = Manifest::of(spec.clone(), address);
            (run_store::create(&args.run_dir, manifest, workload.hosts(), &display)?, None)
        }
    };
    let local = spec.local;
    let notice = |problem: &NotHandedOver| {
        // Agents that join may have their own database settings.
        if local.is_none() {
            display.println(&problem.to_string());
        }
    };
    let [database_url, versus_url] = [&settings, &versus].map(|url| for_agents(url.as_ref(), notice));
    let local = local.map(|local| local_agents(spec.agents, local, settings.as_ref(), versus.as_ref()));
    let plan = RunPlan {
        spec,
        key: run_store::session_key(store.as_ref())?,
        workload: Arc::new(workload),
        passes,
        join_timeout: args.join_timeout,
        retried,
        versus_url,
        database_url,
        explain_slowest,
        metrics,
        live: so_far,
    };
    let plan = Arc::new(plan);
    if let Some(web) = &web {
        web.set_plan(Arc::clone(&plan));
    }
    let tolerated = outcome::Tolerated::of(&plan.spec.thresholds, args.allow_void);
    let (dir, journal) = store.map(|RunStore { dir, journal }| (dir, journal)).unzip();
    let outcome = listen_and_serve(local, plan, listen, &display, journal, resumed, interrupt).await;
    display.finish();
    let stopped = match embedded {
        Some(server) => server.stop().await,
        None => Ok(()),
    };
    // The report is written first, so that a server that fails to stop cannot cause a loss of results.
    let Outcome { result, journal } = outcome?;
    if let Some(web) = &web {
        web.finish(&result);
    }
    output::write(&args.output, &mut stdout().lock(), |format| muster_report::render(format, &result))
        .map_err(Failure::write)?;
    if let Some(dir) = &dir {
        run_store::finish(dir, journal, &result)?;
        if let Some(path) = args.output.hlog() {
            super::report::write_hlog(path, dir, &result, retried)?;
        }
        if result.ending != Ending::Completed {
            display.println(&format!("to resume this run: {}", run_store::resume_hint(dir, &args.run_dir)));
        }
    }
    if let Some(web) = &web {
        web.wait_for_pages().await;
    }
    stopped.map_err(Failure::internal)?;
    Ok(outcome::exit(&result, tolerated))
}

/// Reads the workload of the run, and checks that it belongs to the run and that its rows can be counted.
async fn read_workload(
    args: &RunArgs,
    spec: &mut RunSpec,
    recorded: Option<&RunSpec>,
    display: &Arc<ProgressDisplay>,
    interrupt: &CancellationToken,
) -> Result<(Workload, Passes), Failure> {
    let path = run_spec::path(args, recorded)?;
    let workload = open_workload(&path, spec.workload.options.clone(), display, interrupt).await?;
    match recorded {
        Some(recorded) => run_spec::check_same(recorded, &workload)?,
        None => spec.workload.content = Content::of(&workload),
    }
    let load = &spec.session.load;
    let passes = load.passes(workload.rows()).map_err(Failure::usage)?;
    if let Some(Warmup::Rows(rows)) = load.warmup {
        load.warmup_passes(workload.rows(), rows).context("--warmup").map_err(Failure::usage)?;
    }
    Threshold::check(&spec.thresholds, workload.hosts()).map_err(Failure::usage)?;
    Ok((workload, passes))
}

/// Reads and checks the whole file before anything else starts. This uses a separate thread, because standard input may never end.
pub(super) async fn open_workload(
    file: &Path,
    options: workload::Options,
    display: &Arc<ProgressDisplay>,
    interrupt: &CancellationToken,
) -> Result<Workload, Failure> {
    // An error would print the name, and a URL may contain a password.
    if file.to_str().is_some_and(|file| file.contains("://")) {
        return Err(Failure::usage(anyhow::anyhow!(
            "the workload must be a CSV file, but a URL was given; pass the database with --database-url"
        )));
    }
    let file = file.to_owned();
    let shown = Arc::clone(display);
    let reading = blocking("workload", move || {
        workload::open(&file, &options, &mut |progress| shown.reading(&progress))
    });
    let workload = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        read = reading => read.map_err(Failure::internal)?.map_err(Failure::usage)?,
    };
    for bad in workload.bad() {
        display.println(&format!("skipped: {bad}"));
    }
    Ok(workload)
}

/// Binds the listen address, if there is one, with or without TLS, and executes the run.
async fn listen_and_serve(
    local: Option<Vec<AgentConfig>>,
    plan: Arc<RunPlan>,
    listen: ListenConfig,
    display: &ProgressDisplay,
    journal: Option<Writer>,
    resumed: Option<Replayed>,
    interrupt: CancellationToken,
) -> Result<Outcome, Failure> {
    let ListenConfig { address, access, admission_timeout, .. } = listen;
    let cannot_listen = |address: SocketAddr, error: io::Error| {
        Failure::usage(anyhow::Error::from(error).context(format!(
            "cannot listen on {address}; is another coordinator running? --listen chooses another address"
        )))
    };
    match (address, access.tls()) {
        (None, _) => {
            let listener = Listener::without_port();
            serve(local, plan, listener, display, journal, resumed, interrupt).await
        }
        (Some(address), None) => {
            let listener = Listener::bind(address, admission_timeout).await;
            let listener = listener.map_err(|error| cannot_listen(address, error))?;
            serve(local, plan, listener, display, journal, resumed, interrupt).await
        }
        (Some(address), Some(config)) => {
            let listener = Listener::bind_encrypted(address, admission_timeout, config, access).await;
            let listener = listener.map_err(|error| cannot_listen(address, error))?;
            serve(local, plan, listener, display, journal, resumed, interrupt).await
        }
    }
}

/// Starts the local agents, if any, and executes the run with the agents that join.
async fn serve<I: Incoming>(
    local: Option<Vec<AgentConfig>>,
    plan: Arc<RunPlan>,
    listener: Listener<I>,
    display: &ProgressDisplay,
    journal: Option<Writer>,
    resumed: Option<Replayed>,
    interrupt: CancellationToken,
) -> Result<Outcome, Failure> {
    let end_of_agents = CancellationToken::new();
    let mut agents = JoinSet::new();
    let (connect, arrivals) = in_process();
    for config in local.into_iter().flatten() {
        let runtime = Runtime { network: Network::Other(connect.clone()), ..Runtime::real() };
        let end = end_of_agents.clone();
        agents.spawn(async move { muster_agent::serve_in(&runtime, config, end).await });
    }
    drop(connect);
    let listener = listener.with_in_process(arrivals);
    let outcome = tokio::select! {
        outcome = run::run(Arc::clone(&plan), listener, display, journal, resumed, interrupt) => outcome,
        never = live::show_so_far(&plan, display) => match never {},
    };
    end_of_agents.cancel();
    if timeout(limits::CANCEL_GRACE + limits::SHUTDOWN_TIMEOUT, join_all(&mut agents)).await.is_err() {
        tracing::warn!("some local agents did not stop in time");
    }
    outcome.map_err(|error| failure(error, &plan.spec.session.statements))
}

async fn join_all(agents: &mut JoinSet<Result<(), AgentError>>) {
    while let Some(agent) = agents.join_next().await {
        match agent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(error) => tracing::error!("a local agent failed: {error}"),
        }
    }
}

/// Local agents get the settings themselves and not a URL, so that settings that a URL cannot express, such as `options`, apply to
/// them, too.
fn local_agents(
    count: u16,
    LocalAgents { workers }: LocalAgents,
    database: Option<&Settings>,
    versus: Option<&Settings>,
) -> Vec<AgentConfig> {
    let coordinators = Coordinators::one(Coordinator::of_this_process());
    let agent = AgentConfig {
        workers,
        once: true,
        database: database.cloned(),
        versus: versus.cloned(),
        // The user who starts these agents has also chosen the database.
        role: RoleRule::Any,
        ..AgentConfig::joining(coordinators)
    };
    (0..count).map(|slot| AgentConfig { slot: Some(SlotId::new(slot)), ..agent.clone() }).collect()
}

/// The database URL that is sent to agents that join. If the URL cannot be sent, an agent that needs it learns that one exists.
fn for_agents(settings: Option<&Settings>, notice: impl Fn(&NotHandedOver)) -> Option<SecretString> {
    let url = settings?.to_handed_over();
    Some(url.unwrap_or_else(|problem| {
        notice(&problem);
        WITHHELD.into()
    }))
}

fn failure(error: RunError, statements: &Statements) -> Failure {
    let exit = match &error {
        RunError::NotJoined { .. } | RunError::NotReady { .. } => Exit::NotJoined,
        RunError::Prepare { .. } | RunError::Workload(_) => Exit::Usage,
        RunError::Interrupted => Exit::Interrupted,
    };
    let error = match error {
        RunError::Prepare { slot, failed } => {
            let failed = Box::new(with_column_names(*failed, statements));
            let details = details(&failed, statements);
            anyhow::anyhow!("{}{details}", RunError::Prepare { slot, failed })
        }
        _ => error.into(),
    };
    Failure { exit, error }
}

/// Replaces the numbers of the statement's parameters by column names.
fn with_column_names(failed: PrepareFailed, statements: &Statements) -> PrepareFailed {
    if failed.kind != PrepareFailure::Statement {
        return failed;
    }
    // The text of the default query depends on the server.
    let statement = statements.sent_as(&failed.sql).unwrap_or(statements.first());
    let columns = statement.template().columns();
    let named = |text: String| name_parameters(&text, columns);
    PrepareFailed {
        message: named(failed.message),
        detail: failed.detail.map(named),
        hint: failed.hint.map(named),
        ..failed
    }
}

/// The server's details of the error: SQLSTATE, position in the query, detail and hint.
fn details(failed: &PrepareFailed, statements: &Statements) -> String {
    let statement = statements.sent_as(&failed.sql);
    let original = statement.and_then(Statement::original);
    let mut text = match statement.filter(|_| statements.is_mix()) {
        Some(statement) => format!(" (query '{}')", statement.name()),
        None => String::new(),
    };
    text += &failed.sqlstate.map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
    if let (PrepareFailure::Statement, Some(position)) = (failed.kind, failed.position) {
        text.push_str(&super::query::place(original, &failed.sql, position));
    }
    for (label, line) in [("DETAIL", &failed.detail), ("HINT", &failed.hint)] {
        if let Some(line) = line {
            text.push_str(&format!("\n{label}: {line}"));
        }
    }
    if failed.sqlstate.is_some_and(|code| code.as_str() == "42P01") && failed.sql.contains("cpu_usage") {
        text.push_str("\nHINT: create the demo table with `coordinator migrate`");
    }
    text
}
