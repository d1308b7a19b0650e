//! Reads server statistics during a run, and the plans of rows. Uses a separate connection, which is opened for the first request before
//! the start, and never a worker's thread or connection. All queries are read-only.

mod counters;
mod explain;
mod hypertables;
mod query_ids;
mod rows;
mod statements;

use std::sync::Arc;
use std::time::Instant;

use muster_core::ids::RunId;
use muster_core::limits;
use muster_core::load::Load;
use muster_core::protocol::Protocol;
use muster_core::server_side::Explain;
use muster_core::server_side::{ExplainedPlan, StatsSnapshot};
use muster_core::session_spec::SessionSpec;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::address::Address;
use crate::identity::identify;
use crate::pool::{Connector, Opened, PoolError, ServerPool};
use crate::prepared_statement::Source;
use crate::server::describe_server;
use crate::session_setup::SessionSetup;
use crate::target::Target;
use rows::rows;

/// Reads the statistics for one session. Concurrent requests are handled one after another.
pub struct StatsCollector {
    target: Arc<Target>,
    run: RunId,
    pool: ServerPool,
    /// The settings of each transaction, used only behind a pooler.
    local: String,
    /// The facts about the current connection. `None` before the first request.
    known: Mutex<Option<Known>>,
}

/// The facts that are read once for each connection.
struct Known {
    /// The number of the connection.
    number: u64,
    sources: Vec<Source>,
    /// The query id of each statement in `pg_stat_statements`, or why it is not known.
    query_ids: Vec<Result<i64, String>>,
    version_num: u32,
    /// The settings of each transaction. Empty if the session keeps its settings.
    local: String,
    /// The address of the server, one of those in the settings.
    address: Address,
}

impl StatsCollector {
    /// # Errors
    /// When the pool cannot be created.
    pub fn try_new(target: Arc<Target>, run: RunId) -> Result<Self, PoolError> {
        let application_name = format!("muster:{run}:server_stats");
        let setup = SessionSetup {
            read_only: true,
            // A request must not continue after its caller has given up.
            statement_timeout: Some(limits::STATS_TIMEOUT),
            ..target.setup.clone()
        };
        let local = setup.local(&application_name).simple;
        let (settings, role) = (Arc::clone(&target.settings), target.role);
        let pool = ServerPool::try_new(Connector { settings, application_name, setup, role })?;
        Ok(Self { target, run, pool, local, known: Mutex::new(None) })
    }

    /// Reads the current counters. After the last row, `is_last` waits until the workers' backends have ended, because an idle backend may
    /// report its counters only when it ends, or up to ten seconds later. The caller limits the time.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub async fn read_stats(&self, is_last: bool) -> Result<StatsSnapshot, String> {
        let mut known = self.known.lock().await;
        let (client, known) = self.connected(&mut known).await?;
        if is_last {
            self.wait_for_backends(&client).await;
        }
        let database = counters::of_database(&client).await;
        let counters::Counters { server, counters, times_reads } =
            database.map_err(|error| error.to_string())?;
        let statements = statements::read(&client, &known.query_ids, known.version_num).await;
        let texts: Vec<&str> = known.sources.iter().map(|source| source.sql.as_str()).collect();
        // They rarely change while queries run, and reading them is expensive on a large database.
        let hypertables = if is_last { Ok(Vec::new()) } else { hypertables::read(&client, &texts).await };
        let identity = Some(identify(&client, &known.address).await);
        Ok(StatsSnapshot { server, identity, database: counters, times_reads, statements, hypertables })
    }

    /// Returns the plan of one more execution. The server limits the time of the statement, and the caller limits the total time.
    ///
    /// # Errors
    /// The reason why there is no plan.
    pub async fn explain(&self, request: &Explain) -> Result<ExplainedPlan, String> {
        let mut known = self.known.lock().await;
        let (client, known) = self.connected(&mut known).await?;
        let source = known.sources.get(usize::from(request.statement)).ok_or("there is no such statement")?;
        explain::explain(
            &client,
            &known.local,
            source,
            self.target.spec.load.protocol,
            known.version_num,
            request,
        )
        .await
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.pool.close();
    }

    async fn connected<'a>(
        &self,
        known: &'a mut Option<Known>,
    ) -> Result<(deadpool_postgres::Client, &'a Known), String> {
        let (client, opened) = self.pool.get().await.map_err(|error| error.to_string())?;
        let known = match known.take().filter(|known| known.number == opened.number) {
            Some(same) => known.insert(same),
            None => known.insert(self.ask(&client, opened).await?),
        };
        Ok((client, known))
    }

    async fn ask(&self, client: &Client, opened: Opened) -> Result<Known, String> {
        let facts = describe_server(client).await.map_err(|error| error.to_string())?;
        let SessionSpec { statements, load: Load { protocol, .. }, .. } = &*self.target.spec;
        let Opened { address, is_pooled, number } = opened;
        let local = if is_pooled { self.local.clone() } else { String::new() };
        let version_num = facts.version_num;
        let sources: Vec<Source> =
            statements.iter().map(|statement| Source::new(statement, &facts)).collect();
        let is_simple = *protocol == Protocol::Simple;
        let query_ids = query_ids::of(client, &local, &sources, is_simple, version_num).await;
        Ok(Known { number, sources, query_ids, version_num, local, address })
    }

    /// Waits at most [`limits::SETTLE_TIMEOUT`]. A backend that does not end until then, such as one behind a pooler, may be missing from
    /// the counters.
    async fn wait_for_backends(&self, client: &Client) {
        let deadline = Instant::now() + limits::SETTLE_TIMEOUT;
        let left = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'muster:{}:slot-%' AND datname = current_database()",
            self.run
        );
        while Instant::now() < deadline {
            match rows(client, &left).await {
                Ok(rows) if rows.first().and_then(|row| row.number("count")) != Some(0) => {}
                // No backends remain, or the role may not see them.
                Ok(_) | Err(_) => return,
            }
            sleep(limits::BACKENDS_POLL_EVERY).await;
        }
    }
}
