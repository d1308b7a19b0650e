//! Many agents in one process, which is this program called with `swarm`: a thousand processes would measure the kernel. Everything of an
//! agent is real but its database and the threads of its workers, which are tasks of as many threads as there are processors. At the end it prints how far apart the first rows of
//! its workers began, by the one clock of the process.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use muster_agent::metrics::AgentMetrics;
use muster_agent::null_database::{NullConnection, prepared};
use muster_agent::security::Security;
use muster_agent::surroundings::{Network, Surroundings};
use muster_agent::workplace::{Execute, Executed, Shift, Worker, Workplace};
use muster_agent::{AgentConfig, serve_in};
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::QueryError;
use muster_proto::control::{PrepareFailed, RunConfig};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The word that makes this program a swarm.
pub(crate) const WORD: &str = "swarm";

/// What the first row of each takes: no server answers the first of thousands at once before the last one has asked.
const FIRST_ROW: Duration = Duration::from_millis(20);

/// `swarm HOST:PORT COUNT`: so many agents with one worker each serve one run.
pub(crate) fn main(words: &[String]) {
    let [coordinator, count] = words else { panic!("usage: {WORD} HOST:PORT COUNT") };
    let count: u16 = count.parse().unwrap();
    let starts = Arc::new(Mutex::new(Vec::with_capacity(count.into())));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<Handle> = (0..processors).map(|_| worker_thread()).collect();
    let agent = |slot: u16| {
        let surroundings = Surroundings {
            network: Network::Tcp,
            workplace: Arc::new(Hall {
                workers: workers[usize::from(slot) % processors].clone(),
                starts: Arc::clone(&starts),
            }),
            seed: slot.into(),
            metrics: AgentMetrics::default(),
        };
        let config = AgentConfig {
            coordinators: coordinator.parse().unwrap(),
            security: Security::None,
            workers: 1,
            threads: None,
            slot: Some(SlotId::new(slot)),
            once: true,
            database: None,
            allow_writes: false,
        };
        tokio::spawn(async move { serve_in(&surroundings, config, CancellationToken::new()).await })
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for ended in join_all((0..count).map(agent)).await {
            ended.unwrap().unwrap();
        }
    });
    let starts = starts.lock().unwrap();
    let spread = starts.iter().max().unwrap().duration_since(*starts.iter().min().unwrap());
    // Not println: the reader may be gone.
    let _ = writeln!(std::io::stdout(), "{} {}", starts.len(), spread.as_nanos());
}

/// As an agent's: apart from gRPC.
fn worker_thread() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    // Until the process ends.
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

struct Hall {
    workers: Handle,
    starts: Arc<Mutex<Vec<Instant>>>,
}

struct Tasks(Vec<JoinHandle<()>>);

/// Notes when its first row began.
struct Connection {
    inner: NullConnection,
    has_begun: bool,
    starts: Arc<Mutex<Vec<Instant>>>,
}

impl Workplace for Hall {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        _: String,
    ) -> Result<Box<dyn Shift>, PrepareFailed> {
        let start = |worker: Worker| {
            let inner = NullConnection::to(&run.statements);
            let connection = Connection { inner, has_begun: false, starts: Arc::clone(&self.starts) };
            self.workers.spawn(worker.run(|_| std::future::ready(Ok((vec![connection], prepared())))))
        };
        Ok(Box::new(Tasks(workers.into_iter().map(start).collect())))
    }

    /// Two thousand reports of one process say nothing.
    fn is_real(&self) -> bool {
        false
    }
}

impl Shift for Tasks {
    fn end_backends(&self, _: &RunId, _: SlotId, _: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        Box::pin(async { join_all(self.0).await.iter().all(Result::is_ok) })
    }
}

impl Execute for Connection {
    const IS_REAL_TIME: bool = true;

    fn parameters(&self, statement: u16) -> Option<usize> {
        self.inner.parameters(statement)
    }

    fn reconnects(&self) -> u64 {
        0
    }

    async fn rename(&mut self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }

    async fn execute(&mut self, row: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        let executed = self.inner.execute(row, statement, values).await?;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.starts.lock().unwrap().push(executed.start);
            tokio::time::sleep(FIRST_ROW).await;
        }
        Some(executed)
    }
}
