//! Executes the rows of one worker on one persistent connection, one after another, which blocks the worker's thread. The connection is
//! opened before the start, kept after errors and opened again when it is lost. tokio-postgres opens it on the agent's runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::ids::RowId;
use muster_core::limits;
use muster_core::prepare::PrepareFailed;
use muster_core::protocol::ResultFormat;
use muster_core::sample::{Outcome, QueryError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::execute::{Execute, Executed, Prepared, Reconnect};
use crate::first_connection::{self, Opened};
use crate::frontend::{Exchanged, Frontend};
use crate::in_flight::Interruption;
use crate::live_connection::{LiveConnection, SESSION_ENDED, WorkerContext};
use crate::pooler;
use crate::prepare_failure::no_database;
use crate::prepared_statement::Source;
use crate::query_errors::{cannot_connect, cannot_send, check_timeout, connection_lost, hint, timed_out};
use crate::reconnector::Reconnector;
use crate::result_format;
use crate::target::Target;

pub struct Executor {
    reconnector: Reconnector,
    /// `None` after the connection was lost or closed.
    live: Option<Box<LiveConnection>>,
    /// The time and details of a reconnect, for the next row to report.
    reconnected: Option<(Instant, Box<Reconnect>)>,
    /// The reason why there is no connection for the next row.
    problem: Option<QueryError>,
}

impl Executor {
    /// Connects, reads the server's properties and prepares the statements. Blocks, so another thread must drive `runtime`.
    ///
    /// # Errors
    /// When there is no usable database, or it refuses a statement.
    pub fn open(
        target: Arc<Target>,
        worker: u16,
        cancel: CancellationToken,
        runtime: Handle,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let context = WorkerContext { target, worker, runtime, cancel };
        let target = &context.target;
        let opened = context.wait_for(first_connection::open(target));
        let opened = opened.unwrap_or_else(|| Err(SESSION_ENDED.to_owned()));
        let (connection, Opened { connect, facts, server }) = opened.map_err(|error| no_database(&error))?;
        let is_pooled = connection.peer.is_pooler();
        let mut sources: Vec<Source> =
            target.spec.statements.iter().map(|statement| Source::new(statement, &facts)).collect();
        let first = sources.first().ok_or_else(|| no_database(&"the run has no statement"))?;
        let (sql, bucket_function) = (first.sql.clone(), first.bucket_function);
        let preparing = Instant::now();
        let deadline = preparing + limits::PREPARE_TIMEOUT;
        let mut live = LiveConnection::prepare(&context, connection, server.clone(), &sources, deadline)?;
        let prepare = preparing.elapsed();
        let types: Vec<_> = live.statements.iter().map(|statement| statement.result_types.clone()).collect();
        let choose = |frontend: &mut Frontend| {
            result_format::choose(frontend, &types, target.spec.load.protocol, target.spec.load.results)
        };
        let results = live.ask(choose).ok_or_else(|| no_database(&SESSION_ENDED))?;
        let results = results.map_err(|lost| no_database(&lost))?;
        for (source, used) in sources.iter_mut().zip(&results) {
            source.format = used.format;
        }
        let prepared = Prepared {
            connect,
            prepare,
            database: first_connection::database(facts, server, &target.setup, is_pooled),
            sql,
            bucket_function: bucket_function.map(|function| function.to_string()),
            versus: None,
            results,
            is_pooled,
        };
        let reconnector = Reconnector::new(context, sources);
        let executor = Self { reconnector, live: Some(Box::new(live)), reconnected: None, problem: None };
        Ok((executor, prepared))
    }

    /// Requests the results of this statement as text.
    pub fn request_text(&mut self, statement: usize) {
        if let Some(source) = self.reconnector.sources.get_mut(statement) {
            source.format = ResultFormat::Text;
        }
    }

    /// Runs one row on this connection. Keeps the connection for the next row, unless it ended or a cancel request was sent, which may
    /// arrive during that row.
    fn execute_on(
        &mut self,
        mut live: Box<LiveConnection>,
        statement: usize,
        values: &[Option<&str>],
    ) -> Option<Executed> {
        let (target, source) = self.reconnector.statement(statement);
        let prepared = &mut live.statements[statement];
        let number = prepared.next_number();
        let local = live.local.as_ref();
        if let Err(error) =
            prepared.write(target.spec.load.protocol, source, local, values, live.frontend.outgoing())
        {
            self.live = Some(live);
            return Some(not_sent(number, cannot_send(&error)));
        }
        if !live.in_flight.begin(live.open_at) {
            return None;
        }
        let LiveConnection { frontend, accumulator, in_flight, .. } = &mut *live;
        let Exchanged { start, time: service_time, connection } =
            frontend.exchange(|message| accumulator.take(message));
        let interruption = in_flight.end();
        if interruption == Some(Interruption::SessionEnded) {
            return None;
        }
        if connection.is_err() {
            self.reconnector.remember_lost_query(&live);
        }
        let (target, source) = self.reconnector.statement(statement);
        if let (Some(Interruption::Timeout), Some(limit)) = (interruption, target.spec.timeout)
            && (service_time > limit || connection.is_err())
        {
            let ended = Some(service_time).filter(|_| !live.in_flight.is_shut_down());
            let service_time = ended.unwrap_or(limit + limits::CANCEL_GRACE);
            let outcome = Outcome::Failed(timed_out(limit, ended));
            return Some(Executed::new(start, service_time, number, outcome));
        }
        let (outcome, is_over) = match (live.accumulator.finish(), connection) {
            // The server's error, if there is one, explains more than the end of the connection.
            (Err(error), connection) => {
                let is_over = error.is_fatal || connection.is_err();
                let hint = hint(error.sqlstate, target.setup.read_only, source.format);
                let hint = hint.or(pooler::hint(error.sqlstate).filter(|_| live.local.is_some()));
                (Outcome::Failed(error.into_query_error(hint)), is_over)
            }
            (Ok(_), Err(lost)) => (Outcome::Failed(connection_lost(&lost)), true),
            (Ok(answer), Ok(())) if source.format == ResultFormat::Text => {
                (check_timeout(target.spec.timeout, service_time, answer.as_text()), false)
            }
            (Ok(answer), Ok(())) => (check_timeout(target.spec.timeout, service_time, answer), false),
        };
        if is_over {
            self.reconnector.mark_broken();
        }
        live.open_at = start + service_time;
        // If the query was interrupted, a cancel request is still on its way, even though the query ended in time.
        self.live = Some(live).filter(|_| !is_over && interruption.is_none());
        Some(Executed::new(start, service_time, number, outcome))
    }
}

impl Execute for Executor {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.reconnector.sources.get(usize::from(statement)).map(|source| source.parameters)
    }

    fn disconnected(&self) -> Option<Duration> {
        self.reconnector.broken_since().map(|since| since.elapsed())
    }

    fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let context = &mut self.reconnector.context;
        let former = Arc::clone(&context.target);
        context.target =
            Arc::new(Target { application_name: application_name.to_owned(), ..(*former).clone() });
        // A connection that has ended gets the name when it is opened again.
        match self.live.as_mut().and_then(|live| live.frontend.is_open().then_some(live)) {
            Some(live) => live.rename(context).inspect_err(|_| context.target = former),
            None => Ok(()),
        }
    }

    /// Takes up to [`limits::RECONNECT_TIMEOUT`] if the connection has ended.
    fn connect(&mut self) -> Option<()> {
        match self.reconnector.connect(self.live.take())? {
            Ok((live, reconnect)) => {
                self.live = Some(live);
                if let Some(reconnect) = reconnect {
                    self.reconnected = Some((Instant::now(), Box::new(reconnect)));
                }
            }
            Err(error) => self.problem = Some(error),
        }
        Some(())
    }

    fn execute(&mut self, _: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        let problem = self.problem.take();
        let Some(live) = self.live.take() else {
            let error = problem.unwrap_or_else(|| cannot_connect("there is no connection".to_owned()));
            return Some(Executed { connected_at: Some(Instant::now()), ..not_sent(0, error) });
        };
        let reconnected = self.reconnected.take();
        let executed = self.execute_on(live, statement.into(), values)?;
        Some(match reconnected {
            None => executed,
            Some((at, reconnect)) => {
                Executed { connected_at: Some(at), reconnect: Some(reconnect), ..executed }
            }
        })
    }

    /// Closes the prepared statements in a session that other clients share, if the connection still exists.
    fn close(&mut self) {
        if let Some(mut live) = self.live.take()
            && live.local.is_some()
        {
            // If this times out, the pooler's own reset removes the rest.
            let _ = live.close();
        }
    }
}

/// The outcome of a row that was not sent to the server.
fn not_sent(number: u32, error: QueryError) -> Executed {
    Executed::new(Instant::now(), Duration::ZERO, number, Outcome::Failed(error))
}
