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
use muster_common::server_side::Sight;
use muster_proto::control::Explain;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::call::Source;
use super::connect::{self, SessionSetup};
use super::executor::Target;
use super::server::describe_server;
use rows::rows;

/// How often the server is asked whether the workers' backends are gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One session's eye on the server. Whoever asks waits for who asked before.
pub(crate) struct Lookout {
    target: Arc<Target>,
    /// `muster:<run>:look`.
    name: String,
    run: RunId,
    /// `None` before the first look, and when the connection has ended.
    open: Mutex<Option<Open>>,
}

/// A connection, and what is asked of the server but once.
struct Open {
    client: Client,
    /// Ends with the client.
    driver: JoinHandle<()>,
    sources: Vec<Source>,
    /// `pg_stat_statements`' name of each statement, or why it is not known.
    query_ids: Vec<Result<i64, String>>,
    version_num: u32,
}

impl Lookout {
    pub(crate) fn new(target: Arc<Target>, run: RunId) -> Self {
        let name = format!("muster:{run}:look");
        Self { target, name, run, open: Mutex::new(None) }
    }

    /// What the server has counted so far. After the last row, `is_last` waits until the workers' backends have ended, for they hand in
    /// what they counted then, and while they are idle only after a second, or ten. The caller bounds the time.
    ///
    /// # Errors
    /// Why nothing was seen.
    pub(crate) async fn look(&self, is_last: bool) -> Result<Sight, String> {
        let mut open = self.open.lock().await;
        let open = self.opened(&mut open).await?;
        if is_last {
            self.wait_for_backends(&open.client).await;
        }
        let database = counters::of_database(&open.client).await;
        let counters::Seen { server, counters, times_reads } = database.map_err(|error| error.to_string())?;
        let statements = statements::look(&open.client, &open.query_ids, open.version_num).await;
        let texts: Vec<&str> = open.sources.iter().map(|source| source.sql.as_str()).collect();
        // They do not change while queries run, as a rule, and on a large database this is the costly part.
        let hypertables =
            if is_last { Ok(Vec::new()) } else { hypertables::look(&open.client, &texts).await };
        Ok(Sight { server, database: counters, times_reads, statements, hypertables })
    }

    /// The plan of one more execution. The server bounds its time, the caller the whole.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn explain(&self, asked: &Explain) -> Result<Vec<String>, String> {
        let mut slot = self.open.lock().await;
        let open = self.opened(&mut slot).await?;
        let source = open.sources.get(usize::from(asked.statement)).ok_or("there is no such statement")?;
        let is_simple = self.target.protocol == Protocol::Simple;
        explain::explain(&open.client, source, is_simple, asked).await
    }

    /// Takes leave of the server, once nobody looks any more.
    pub(crate) async fn close(&self) {
        if let Some(Open { client, driver, .. }) = self.open.lock().await.take() {
            drop(client);
            let _ = driver.await;
        }
    }

    async fn opened<'a>(&self, slot: &'a mut Option<Open>) -> Result<&'a mut Open, String> {
        if slot.as_ref().is_none_or(|open| open.client.is_closed()) {
            *slot = Some(self.connect().await?);
        }
        slot.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    async fn connect(&self) -> Result<Open, String> {
        let Target { settings, setup, statements, .. } = &*self.target;
        let setup = SessionSetup {
            read_only: true,
            // A look must not go on when nobody waits for it any more.
            statement_timeout: Some(limits::LOOK_TIMEOUT),
            ..setup.clone()
        };
        let opened = connect::connect(settings, &self.name, &setup).await;
        let connect::Connection { client, driver, .. } = opened.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(driver.run());
        let mut open = Open { client, driver, sources: Vec::new(), query_ids: Vec::new(), version_num: 0 };
        let facts = describe_server(&open.client).await.map_err(|error| error.to_string())?;
        open.version_num = facts.version_num;
        open.sources = statements.iter().map(|statement| Source::of(statement, &facts)).collect();
        let is_simple = self.target.protocol == Protocol::Simple;
        open.query_ids = query_ids::of(&open.client, &open.sources, is_simple, open.version_num).await;
        Ok(open)
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
