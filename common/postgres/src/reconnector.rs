//! Opens the connection of a worker again when it is lost, with a limit and off the timed path.

use std::time::Instant;

use muster_core::limits;
use muster_core::sample::QueryError;
use tokio::time::{sleep, timeout_at};
use tokio_postgres::Client;

use crate::address::Address;
use crate::connect::connect_worker;
use crate::execute::Reconnect;
use crate::identity::identify;
use crate::live_connection::{LiveConnection, WorkerContext};
use crate::lost_query::{self, LostQuery};
use crate::peer::Peer;
use crate::prepared_statement::Source;
use crate::query_errors::cannot_connect;
use crate::target::Target;

pub(crate) struct Reconnector {
    pub(crate) context: WorkerContext,
    /// The statements to prepare on each connection.
    pub(crate) sources: Vec<Source>,
    /// The query of the lost connection, until it is known to have ended.
    lost_query: Option<LostQuery>,
    /// The time at which the connection was found broken. `None` while there is a connection, and after the worker itself closed it.
    broken_since: Option<Instant>,
    /// Set while the database has been unavailable for longer than [`limits::RECONNECT_TIMEOUT`].
    unavailable: Option<Unavailable>,
}

/// A database that remains unavailable. Rows fail immediately, and a new attempt is made at `retry_at`.
struct Unavailable {
    error: QueryError,
    retry_at: Instant,
}

/// A connection for the next row, with the reconnect if there was one, or the reason why there is none.
type Connected = Result<(Box<LiveConnection>, Option<Reconnect>), QueryError>;

impl Reconnector {
    pub(crate) fn new(context: WorkerContext, sources: Vec<Source>) -> Self {
        Self { context, sources, lost_query: None, broken_since: None, unavailable: None }
    }

    /// Returns the target, and one of its statements as it is sent.
    pub(crate) fn statement(&self, statement: usize) -> (&Target, &Source) {
        (&self.context.target, &self.sources[statement])
    }

    pub(crate) fn broken_since(&self) -> Option<Instant> {
        self.broken_since
    }

    /// Records that the connection was found broken now.
    pub(crate) fn mark_broken(&mut self) {
        self.broken_since = Some(Instant::now());
    }

    /// Remembers the query of the lost connection, which may still be running. No other query runs until it has ended.
    pub(crate) fn remember_lost_query(&mut self, live: &LiveConnection) {
        self.lost_query = Some(LostQuery {
            address: live.address.clone(),
            server: live.server.clone(),
            peer: live.peer.clone(),
            application_name: self.context.worker_name(),
            lost_at: Instant::now(),
        });
    }

    /// Returns the current connection or a new one. Returns `None` when the session ends.
    pub(crate) fn connect(&mut self, live: Option<Box<LiveConnection>>) -> Option<Connected> {
        if let Some(mut live) = live {
            if live.is_open() {
                return Some(Ok((live, None)));
            }
            // The connection ended while it was idle, so this row was not sent on it.
            self.mark_broken();
        }
        if let Some(unavailable) = &self.unavailable
            && Instant::now() < unavailable.retry_at
        {
            return Some(Err(unavailable.error.clone()));
        }
        let began = Instant::now();
        let deadline = began + limits::RECONNECT_TIMEOUT;
        let mut delay = limits::RETRY_FIRST;
        loop {
            let error = match self.reopen(deadline)? {
                Ok(live) => {
                    (self.unavailable, self.lost_query) = (None, None);
                    let outage = self.broken_since.take().map(|since| since.elapsed());
                    let server = live.server.clone();
                    return Some(Ok((Box::new(live), Some(Reconnect { outage, server }))));
                }
                Err(Some(error)) => error,
                Err(None) => match &self.unavailable {
                    Some(unavailable) => unavailable.error.clone(),
                    None => cannot_connect(format!("no connection within {:?}", limits::RECONNECT_TIMEOUT)),
                },
            };
            self.broken_since.get_or_insert(began);
            // A database that is known to be unavailable is tried once. This may take as long as all its servers and the previous one need
            // to respond, because a shorter attempt could not succeed.
            if self.unavailable.is_some() || Instant::now() + delay >= deadline {
                let retry_at = Instant::now() + limits::RETRY_MAX;
                self.unavailable = Some(Unavailable { error: error.clone(), retry_at });
                return Some(Err(error));
            }
            self.context.wait_for(async { sleep(delay).await })?;
            delay = (delay * 2).min(limits::RETRY_MAX);
        }
    }

    /// Reconnects and prepares the statements, after the query of the lost connection has ended. Returns `None` when the session ends. The
    /// error is `None` at the deadline.
    fn reopen(&self, deadline: Instant) -> Option<Result<LiveConnection, Option<QueryError>>> {
        let Self { context, sources, lost_query, .. } = self;
        let Target { settings, setup, role, application_name, .. } = &*context.target;
        let ask = async |client: &Client, address: &Address, _: &Peer| {
            role.check(client).await.map_err(|error| error.to_string())?;
            let server = identify(client, address).await;
            match lost_query {
                None => {}
                Some(lost) if lost.server.is_same_server(&server) => {
                    lost_query::wait_for_end(client, lost).await?;
                }
                Some(lost) => lost_query::wait_for_end_on_other_server(settings, setup, lost).await?,
            }
            Ok(server)
        };
        let opening = async {
            timeout_at(deadline.into(), connect_worker(settings, application_name, setup, ask)).await
        };
        let (connection, server) = match context.wait_for(opening)? {
            Ok(Ok(opened)) => opened,
            Ok(Err(message)) => return Some(Err(Some(cannot_connect(message)))),
            Err(_) => return Some(Err(None)),
        };
        let live = LiveConnection::prepare(context, connection, server, sources, deadline);
        Some(live.map_err(|failed| Some(cannot_connect(format!("prepare: {}", failed.message)))))
    }
}
