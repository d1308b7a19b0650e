//! An open connection of a worker, with its statements.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use muster_core::limits;
use muster_core::prepare::PrepareFailed;
use muster_core::protocol::Protocol;
use muster_core::query::quote;
use muster_core::sample::QueryError;
use muster_core::server_identity::ServerIdentity;
use muster_process::random;
use postgres_protocol::message::frontend as write;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::connect::WorkerConnection;
use crate::frontend::{ERROR_RESPONSE, Frontend, Lost};
use crate::in_flight::{InFlight, Interrupter};
use crate::peer::Peer;
use crate::prepare_failure::no_database;
use crate::prepared_statement::{PreparedStatement, Source};
use crate::query_errors::cannot_connect;
use crate::result_accumulator::ResultAccumulator;
use crate::server_error::ServerError;
use crate::session_setup::LocalSettings;
use crate::target::Target;

pub(crate) const SESSION_ENDED: &str = "the session has ended";

/// What all connections of one worker share.
pub(crate) struct WorkerContext {
    pub(crate) target: Arc<Target>,
    pub(crate) worker: u16,
    /// The agent's runtime, used for everything except queries.
    pub(crate) runtime: Handle,
    pub(crate) cancel: CancellationToken,
}

impl WorkerContext {
    /// Waits for `future` on the agent's runtime. Returns `None` when the session ends first.
    pub(crate) fn wait_for<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(self.cancel.run_until_cancelled(future))
    }

    pub(crate) fn worker_name(&self) -> String {
        self.target.worker_name(self.worker)
    }
}

/// Dropping it closes the connection.
pub(crate) struct LiveConnection {
    pub(crate) frontend: Frontend,
    pub(crate) in_flight: InFlight,
    /// The time at which the connection was last known to be open.
    pub(crate) open_at: Instant,
    /// The address of the server, one of those in the settings.
    pub(crate) address: Address,
    pub(crate) server: ServerIdentity,
    pub(crate) peer: Peer,
    /// The settings of each transaction behind a pooler. `None` where the session keeps its settings.
    pub(crate) local: Option<LocalSettings>,
    pub(crate) statements: Vec<PreparedStatement>,
    pub(crate) accumulator: ResultAccumulator,
}

impl LiveConnection {
    /// Prepares the statements on a new connection of the worker, by the deadline.
    pub(crate) fn prepare(
        context: &WorkerContext,
        connection: WorkerConnection,
        server: ServerIdentity,
        sources: &[Source],
        deadline: Instant,
    ) -> Result<Self, PrepareFailed> {
        let WorkerContext { target, runtime, cancel, .. } = context;
        let WorkerConnection { stream, token, address, peer } = connection;
        let local = peer.is_pooler().then(|| target.setup.local(&context.worker_name()));
        let skip = match (&local, target.spec.load.protocol) {
            (None, _) => 0,
            (Some(local), Protocol::Simple) => local.simple_statements,
            (Some(_), Protocol::Prepared | Protocol::Extended) => 1,
        };
        let interrupter = Interrupter {
            settings: Arc::clone(&target.settings),
            address: address.clone(),
            is_encrypted: stream.is_encrypted(),
            token,
            shutdown: stream.shutdown_handle().map_err(|error| no_database(&error))?,
        };
        let mut live = Self {
            in_flight: InFlight::watch(runtime, target.spec.timeout, cancel.clone(), interrupter),
            frontend: Frontend::new(stream),
            open_at: Instant::now(),
            address,
            server,
            peer,
            local,
            statements: Vec::with_capacity(sources.len()),
            accumulator: ResultAccumulator::new(skip),
        };
        // The seed makes the names differ from those of other clients that share the session.
        let seed = random::seed();
        for (index, source) in sources.iter().enumerate() {
            let name = match target.spec.load.protocol {
                Protocol::Prepared => format!("muster:{seed:016x}:{index}"),
                Protocol::Extended | Protocol::Simple => String::new(),
            };
            let local = live.local.clone();
            let limit = deadline.saturating_duration_since(Instant::now());
            let prepare = |frontend: &mut Frontend| {
                PreparedStatement::prepare(frontend, name, source, local.as_ref(), limit)
            };
            let statement = live.ask(prepare).ok_or_else(|| no_database(&SESSION_ENDED))??;
            live.statements.push(statement);
        }
        live.open_at = Instant::now();
        Ok(live)
    }

    /// Exchanges messages that have their own time limit. Returns `None` when the session ends.
    pub(crate) fn ask<T>(&mut self, ask: impl FnOnce(&mut Frontend) -> T) -> Option<T> {
        if !self.in_flight.begin_without_limit() {
            return None;
        }
        let answer = ask(&mut self.frontend);
        self.in_flight.end().is_none().then_some(answer)
    }

    /// Returns true if the connection is still open.
    pub(crate) fn is_open(&mut self) -> bool {
        let now = Instant::now();
        let since_open = now.saturating_duration_since(self.open_at);
        let is_open = since_open < limits::OPEN_CHECK_AFTER || self.frontend.is_open();
        self.open_at = now;
        is_open
    }

    /// Closes the prepared statements.
    pub(crate) fn close(&mut self) -> Result<(), Lost> {
        let out = self.frontend.outgoing();
        for statement in &self.statements {
            statement.close(out)?;
        }
        write::sync(out);
        self.frontend.exchange_within(limits::CLOSE_TIMEOUT, |_| ())
    }

    /// Changes the application name, for the session or behind a pooler for each transaction.
    pub(crate) fn rename(&mut self, context: &WorkerContext) -> Result<(), QueryError> {
        let application_name = &context.target.application_name;
        if let Some(local) = &mut self.local {
            *local = context.target.setup.local(&context.worker_name());
            return Ok(());
        }
        let cannot = |problem: &dyn Display| {
            cannot_connect(format!("name the session '{application_name}': {problem}"))
        };
        let set = format!("SET application_name = {}", quote(application_name));
        write::query(&set, self.frontend.outgoing()).map_err(|error| cannot(&error))?;
        let mut refused = None;
        let answered = self.ask(|frontend| {
            frontend.exchange_within(limits::CONNECT_TIMEOUT, |message| {
                if message.tag == ERROR_RESPONSE {
                    refused = Some(ServerError::parse(message.body));
                }
            })
        });
        answered.ok_or_else(|| cannot(&SESSION_ENDED))?.map_err(|lost| cannot(&lost))?;
        refused.map_or(Ok(()), |error| Err(cannot(&error.message)))
    }
}
