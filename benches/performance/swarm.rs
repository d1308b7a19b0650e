//! Many agents in one process, which is this program called with `swarm`: with a thousand processes the benchmark would measure the kernel.
//! Everything in an agent is real except its database. At the end the program prints the time between the earliest and the latest first row
//! of its workers, by the clock of the process.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use muster_agent::driver::{
    CannotStart, Driver, Execute, Executed, Prepared, Route, ThreadWaiter, Worker, WorkerPool,
};
use muster_agent::metrics::AgentMetrics;
use muster_agent::null_database::NullConnection;
use muster_agent::runtime::{Network, Runtime};
use muster_agent::{AgentConfig, serve_in};
use muster_core::ids::{Epoch, RowId, RunId, SlotId};
use muster_core::sample::QueryError;
use muster_proto::control::RunConfig;
use tokio_util::sync::CancellationToken;

/// The argument that runs this program as a swarm.
pub(crate) const WORD: &str = "swarm";

/// The time of each connection's first row. A real server does not complete the first of thousands of queries before it receives the last.
const FIRST_ROW: Duration = Duration::from_millis(20);

/// Stack size of a worker's thread.
const STACK_BYTES: usize = 128 << 10;

/// `swarm HOST:PORT COUNT`: COUNT agents with one worker each serve one run.
pub(crate) fn main(words: &[String]) {
    let [coordinator, count] = words else { panic!("usage: {WORD} HOST:PORT COUNT") };
    let count: u16 = count.parse().unwrap();
    let starts = Arc::new(Mutex::new(Vec::with_capacity(count.into())));
    let agent = |slot: u16| {
        let runtime = Runtime {
            network: Network::Tcp,
            driver: Arc::new(BenchDriver { starts: Arc::clone(&starts) }),
            seed: slot.into(),
            metrics: AgentMetrics::default(),
        };
        let config = AgentConfig {
            slot: Some(SlotId::new(slot)),
            once: true,
            ..AgentConfig::joining(coordinator.parse().unwrap())
        };
        tokio::spawn(async move { serve_in(&runtime, config, CancellationToken::new()).await })
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for ended in join_all((0..count).map(agent)).await {
            ended.unwrap().unwrap();
        }
    });
    let starts = starts.lock().unwrap();
    let spread = starts.iter().max().unwrap().duration_since(*starts.iter().min().unwrap());
    // Not `println!`, which panics if the reader has exited.
    let _ = writeln!(std::io::stdout(), "{} {}", starts.len(), spread.as_nanos());
}

struct BenchDriver {
    starts: Arc<Mutex<Vec<Instant>>>,
}

struct Threads(Vec<JoinHandle<()>>);

/// Records when its first row begins.
struct Connection {
    inner: NullConnection,
    has_begun: bool,
    starts: Arc<Mutex<Vec<Instant>>>,
}

impl Driver for BenchDriver {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        _: &Route,
        _: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart> {
        let start = |worker: Worker| {
            let inner = NullConnection::to(run.session.statements.as_slice());
            let connection = Connection { inner, has_begun: false, starts: Arc::clone(&self.starts) };
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(|| worker.run(ThreadWaiter::new(), |_| Ok((vec![connection], Prepared::default()))))
                .map_err(CannotStart::Thread)
        };
        Ok(Box::new(Threads(workers.into_iter().map(start).collect::<Result<_, _>>()?)))
    }

    /// False, so that the agents do not report the health of this process two thousand times.
    fn is_real(&self) -> bool {
        false
    }
}

impl WorkerPool for Threads {
    fn end_backends(&self, _: &RunId, _: SlotId, _: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        // The workers have already been stopped.
        Box::pin(async { self.0.into_iter().all(|thread| thread.join().is_ok()) })
    }
}

impl Execute for Connection {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.inner.parameters(statement)
    }

    fn rename(&mut self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }

    fn execute(&mut self, row: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        let executed = self.inner.execute(row, statement, values)?;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.starts.lock().unwrap().push(executed.start);
            std::thread::sleep(FIRST_ROW);
        }
        Some(executed)
    }
}
