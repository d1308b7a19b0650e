//! Many agents in one process, which is this program called with `swarm`: a thousand processes would measure the kernel. Everything of an
//! agent is real but its database. At the end it prints how far apart the first rows of its workers began, by the one clock of the process.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use muster_agent::metrics::AgentMetrics;
use muster_agent::null_database::{NullConnection, prepared};
use muster_agent::surroundings::{Network, Surroundings};
use muster_agent::workplace::{
    CannotStart, Execute, Executed, Route, Shift, ThreadWaiter, Worker, Workplace,
};
use muster_agent::{AgentConfig, serve_in};
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::QueryError;
use muster_proto::control::RunConfig;
use tokio_util::sync::CancellationToken;

/// The word that makes this program a swarm.
pub(crate) const WORD: &str = "swarm";

/// What the first row of each takes: no server answers the first of thousands at once before the last one has asked.
const FIRST_ROW: Duration = Duration::from_millis(20);

/// Of a worker's thread.
const STACK_BYTES: usize = 128 << 10;

/// `swarm HOST:PORT COUNT`: so many agents with one worker each serve one run.
pub(crate) fn main(words: &[String]) {
    let [coordinator, count] = words else { panic!("usage: {WORD} HOST:PORT COUNT") };
    let count: u16 = count.parse().unwrap();
    let starts = Arc::new(Mutex::new(Vec::with_capacity(count.into())));
    let agent = |slot: u16| {
        let surroundings = Surroundings {
            network: Network::Tcp,
            workplace: Arc::new(Hall { starts: Arc::clone(&starts) }),
            seed: slot.into(),
            metrics: AgentMetrics::default(),
        };
        let config = AgentConfig {
            slot: Some(SlotId::new(slot)),
            once: true,
            ..AgentConfig::joining(coordinator.parse().unwrap())
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

struct Hall {
    starts: Arc<Mutex<Vec<Instant>>>,
}

struct Threads(Vec<JoinHandle<()>>);

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
        _: &Route,
        _: String,
    ) -> Result<Box<dyn Shift>, CannotStart> {
        let start = |worker: Worker| {
            let inner = NullConnection::to(&run.statements);
            let connection = Connection { inner, has_begun: false, starts: Arc::clone(&self.starts) };
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(|| worker.run(ThreadWaiter::new(), |_| Ok((vec![connection], prepared()))))
                .map_err(CannotStart::Thread)
        };
        Ok(Box::new(Threads(workers.into_iter().map(start).collect::<Result<_, _>>()?)))
    }

    /// Two thousand reports of one process say nothing.
    fn is_real(&self) -> bool {
        false
    }
}

impl Shift for Threads {
    fn end_backends(&self, _: &RunId, _: SlotId, _: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        // They were told to end.
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
