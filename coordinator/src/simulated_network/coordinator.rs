//! The process of the simulated coordinator. It does what `coordinator run` does between reading the workload and writing the report, or,
//! if a journal exists already, what `--resume` does.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_core::load::Load;
use muster_core::passes::Passes;
use muster_core::placement::Method;
use muster_core::session_spec::{SessionSpec, Statement, StatementText};
use muster_core::session_token::SessionKey;
use muster_net::metrics::written;
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpListener;

use super::checks;
use super::network::{self, PORT};
use super::site::{Ended, Site};
use crate::grpc::Listener;
use crate::journal::{Lock, Writer};
use crate::progress::ProgressDisplay;
use crate::run::{self, HostSamples, Live, Metrics, Outcome, Replayed, Retried, RunPlan, Scope};
use crate::spec::{Content, RunSpec, WorkloadSpec};
use crate::workload::{self, Checks, OnBadRow, Options, Workload};

const SQL: &str = "SELECT run(:hostname, :takes_ms, :fails)";

/// Serves the run, or resumes it if there is a journal.
pub(super) async fn serve(site: Arc<Site>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let address = listener.local_addr()?;
    let workload = workload::open(&site.csv, &options(), &mut |_| ())?;
    let (journal, resumed) = match site.journal.exists() {
        false => (Writer::create(&site.journal)?, None),
        true => match resume(&site.journal, &workload)? {
            Some((journal, replayed)) => (journal, Some(replayed)),
            None => {
                site.end(Ended::NothingLeft);
                return Ok(());
            }
        },
    };
    let incoming = network::incoming(listener, Arc::clone(&site.cutter), Arc::clone(&site.tape));
    let listener = Listener::in_clear(Box::pin(incoming), address);
    let metrics = Metrics::enabled();
    let plan = Arc::new(plan(&site, workload, metrics.clone()));
    let display = ProgressDisplay::silent();
    let never = CancellationToken::new();
    match run::run(plan, listener, &display, Some(journal), resumed, never).await {
        Ok(Outcome { result, journal: _ }) => match checks::check_metrics(&written(metrics), &result) {
            Ok(()) => site.end(Ended::Reported(Box::new(result))),
            Err(problem) => site.end(Ended::Failed(problem)),
        },
        Err(problem) => site.end(Ended::Failed(problem.to_string())),
    }
    Ok(())
}

fn options() -> Options {
    Options {
        host_column: "hostname".to_owned(),
        parameters: ["hostname", "takes_ms", "fails"].map(str::to_owned).to_vec(),
        mix: None,
        checks: Checks::None,
        on_bad_row: OnBadRow::Fail,
        limit: None,
    }
}

fn resume(journal: &Path, workload: &Workload) -> Result<Option<(Writer, Replayed)>, Box<dyn Error>> {
    let lock = Lock::take(journal)?;
    let passes = Passes::once(workload.rows());
    let scope =
        Scope { passes, retried: Retried::LeftOut, has_due_times: false, slowest: 0, has_metrics: true };
    let replayed = run::replay(lock.reader()?, scope, workload.hosts().len(), HostSamples::default())?;
    if replayed.ledger.unaccounted() == 0 {
        return Ok(None);
    }
    Ok(Some((lock.append(replayed.end)?, replayed)))
}

fn plan(site: &Site, workload: Workload, metrics: Metrics) -> RunPlan {
    let scenario = &site.scenario;
    let passes = match scenario.duration {
        Some(_) => Passes::endless(workload.rows(), 1, 0),
        None => Passes::once(workload.rows()),
    };
    let text = StatementText { name: "q.sql".to_owned(), sql: Some(SQL.to_owned()), weight: 1 };
    let statement = Statement::try_from(text).expect("the statement is valid");
    let spec = RunSpec {
        run_id: site.run.clone(),
        command: String::new(),
        workload: WorkloadSpec {
            content: Content::of(&workload),
            ..WorkloadSpec::unread(Path::new("rows.csv"), options())
        },
        agents: scenario.slots,
        placement: Method::Rendezvous,
        session: SessionSpec {
            statements: statement.into(),
            load: Load { duration: scenario.duration, ..Load::default() },
            timezone: "UTC".to_owned(),
            timeout: scenario.timeout,
        },
        on_agent_loss: scenario.on_agent_loss,
        slot_grace: scenario.slot_grace,
        local: None,
        embedded: None,
        thresholds: Vec::new(),
    };
    RunPlan {
        spec,
        key: SessionKey::new([7; 32]),
        workload: Arc::new(workload),
        passes,
        explain_slowest: 0,
        metrics,
        live: Live::default(),
        versus_url: None,
        join_timeout: Duration::from_secs(120),
        retried: Retried::LeftOut,
        database_url: None,
    }
}
