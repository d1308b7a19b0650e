//! A look at the server beside the run: what it has counted, and how it executes a row. On a connection of its own, which is opened
//! when somebody asks for the first time, before the start; never on a worker's thread or connection. It only reads.

mod counters;
mod explain;
mod hypertables;
mod query_ids;
mod rows;
mod statements;

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::RunId;
use muster_common::limits;
use muster_common::protocol::Protocol;
use muster_common::server_side::{ExplainedPlan, Sight};
use muster_proto::control::Explain;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::address::Address;
use super::call::Source;
use super::connect::SessionSetup;
use super::executor::Target;
use super::identity::identify;
use super::pool::{Connector, Opened, PoolError, ServerPool};
use super::server::describe_server;
use rows::rows;

/// How often the server is asked whether the workers' backends are gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One session's view of the server. Requests wait for each other.
pub(crate) struct Lookout {
    target: Arc<Target>,
    run: RunId,
    pool: ServerPool,
    /// The settings of each transaction behind a pooler.
    local: String,
    /// Of the current connection; `None` before the first request.
    known: Mutex<Option<Known>>,
}

/// What is asked of the server once a connection.
struct Known {
    /// The number of the connection.
    number: u64,
    sources: Vec<Source>,
    /// `pg_stat_statements`' name of each statement, or why it is not known.
    query_ids: Vec<Result<i64, String>>,
    version_num: u32,
    /// What each transaction has to set. Empty where the session keeps its settings.
    local: String,
    /// Which of several hosts answered.
    address: Address,
}

impl Lookout {
    /// # Errors
    /// Why there cannot be a pool.
    pub(crate) fn try_new(target: Arc<Target>, run: RunId) -> Result<Self, PoolError> {
        let application_name = format!("muster:{run}:look");
        let setup = SessionSetup {
            read_only: true,
            // A request must not go on when no one waits for it any more.
            statement_timeout: Some(limits::LOOK_TIMEOUT),
            ..target.setup.clone()
        };
        let local = setup.local(&application_name).simple;
        let (settings, role) = (Arc::clone(&target.settings), target.role);
        let pool = ServerPool::try_new(Connector { settings, application_name, setup, role })?;
        Ok(Self { target, run, pool, local, known: Mutex::new(None) })
    }

    /// What the server has counted so far. After the last row, `is_last` waits until the workers' backends have ended, for they hand in
    /// what they counted then, and while they are idle only after a second, or ten. The caller bounds the time.
    ///
    /// # Errors
    /// Why nothing was seen.
    pub(crate) async fn look(&self, is_last: bool) -> Result<Sight, String> {
        let mut known = self.known.lock().await;
        let (client, known) = self.connected(&mut known).await?;
        if is_last {
            self.wait_for_backends(&client).await;
        }
        let database = counters::of_database(&client).await;
        let counters::Seen { server, counters, times_reads } = database.map_err(|error| error.to_string())?;
        let statements = statements::look(&client, &known.query_ids, known.version_num).await;
        let texts: Vec<&str> = known.sources.iter().map(|source| source.sql.as_str()).collect();
        // They do not change while queries run, as a rule, and on a large database this is the costly part.
        let hypertables = if is_last { Ok(Vec::new()) } else { hypertables::look(&client, &texts).await };
        let identity = Some(identify(&client, &known.address).await);
        Ok(Sight { server, identity, database: counters, times_reads, statements, hypertables })
    }

    /// The plan of one more execution. The server bounds its time, the caller the whole.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn explain(&self, asked: &Explain) -> Result<ExplainedPlan, String> {
        let mut known = self.known.lock().await;
        let (client, known) = self.connected(&mut known).await?;
        let source = known.sources.get(usize::from(asked.statement)).ok_or("there is no such statement")?;
        explain::explain(&client, &known.local, source, self.target.protocol, known.version_num, asked).await
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
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
        let Target { statements, protocol, .. } = &*self.target;
        let Opened { address, is_pooled, number } = opened;
        let local = if is_pooled { self.local.clone() } else { String::new() };
        let version_num = facts.version_num;
        let sources: Vec<Source> = statements.iter().map(|statement| Source::of(statement, &facts)).collect();
        let is_simple = *protocol == Protocol::Simple;
        let query_ids = query_ids::of(client, &local, &sources, is_simple, version_num).await;
        Ok(Known { number, sources, query_ids, version_num, local, address })
    }

    /// Bounded: a backend that does not end, behind a pooler say, costs at most [`limits::SETTLE_TIMEOUT`], and then some counts may be
    /// missing.
    async fn wait_for_backends(&self, client: &Client) {
        let deadline = Instant::now() + limits::SETTLE_TIMEOUT;
        let left = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'muster:{}:slot-%' AND datname = current_database()",
            self.run
        );
        while Instant::now() < deadline {
            match rows(client, &left).await {
                Ok(rows) if rows.first().and_then(|row| row.number("count")) != Some(0) => {}
                // Nobody is left, or nobody may be seen.
                Ok(_) | Err(_) => return,
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
