//! The real driver: workers on threads, connected to PostgreSQL.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;
use muster_core::ids::{Epoch, RunId, SlotId};
use muster_core::protocol::ResultFormat;
use muster_core::server_side::Explain;
use muster_core::server_side::{ExplainedPlan, StatsSnapshot};
use muster_postgres::{Executor, Fence, Prepared, StatsCollector};
use muster_proto::control::RunConfig;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::driver::{CannotStart, Driver, WorkerPool};
use crate::route::Route;
use crate::targets::{Targets, for_second};
use crate::threads::Threads;
use crate::worker::{Opened, Worker};

#[derive(Debug, Default)]
pub(crate) struct Databases {
    /// Databases for which the warning that the role is a superuser has been logged. It is logged once for each.
    warned: Arc<Mutex<BTreeSet<String>>>,
}

struct DatabaseWorkerPool {
    threads: Threads,
    targets: Targets,
    /// Created for the first request.
    stats_collector: OnceLock<Result<Arc<StatsCollector>, String>>,
    fences: OnceLock<Result<Arc<Vec<Fence>>, String>>,
}

impl Driver for Databases {
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart> {
        let targets = Targets::select(config, run, route, application_name, Arc::clone(&self.warned))?;
        let opened = targets.clone();
        let runtime = Handle::current();
        let threads = Threads::start(workers, move |worker, cancel| {
            open(opened.clone(), worker, cancel, runtime.clone())
        })?;
        let (stats_collector, fences) = (OnceLock::new(), OnceLock::new());
        Ok(Box::new(DatabaseWorkerPool { threads, targets, stats_collector, fences }))
    }
}

impl WorkerPool for DatabaseWorkerPool {
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>> {
        let fences = self.fences(run);
        Box::pin(async move {
            let mut ended = 0;
            for fence in &*fences? {
                ended += fence.end_backends(slot, below).await?;
            }
            Ok(ended)
        })
    }

    fn read_stats(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<StatsSnapshot, String>> {
        let stats_collector = self.stats_collector(run);
        Box::pin(async move { stats_collector?.read_stats(is_last).await })
    }

    fn explain(&self, run: &RunId, request: Explain) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        let stats_collector = self.stats_collector(run);
        Box::pin(async move { stats_collector?.explain(&request).await })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        if let Some(Ok(stats_collector)) = self.stats_collector.get() {
            stats_collector.close();
        }
        Box::pin(self.threads.join())
    }
}

impl DatabaseWorkerPool {
    fn stats_collector(&self, run: &RunId) -> Result<Arc<StatsCollector>, String> {
        let create = || StatsCollector::try_new(Arc::clone(&self.targets.first), run.clone());
        let create = || create().map(Arc::new).map_err(|error| error.to_string());
        self.stats_collector.get_or_init(create).clone()
    }

    /// Returns one fence for each database.
    fn fences(&self, run: &RunId) -> Result<Arc<Vec<Fence>>, String> {
        let Targets { first, versus } = &self.targets;
        let fences =
            || std::iter::once(first).chain(versus).map(|target| Fence::try_new(target, run.clone()));
        let create = || fences().collect::<Result<_, _>>().map(Arc::new).map_err(|error| error.to_string());
        self.fences.get_or_init(create).clone()
    }
}

fn open(targets: Targets, worker: u16, cancel: CancellationToken, runtime: Handle) -> Opened<Executor> {
    let Targets { first, versus } = targets;
    let (executor, mut prepared) = Executor::open(first, worker, cancel.clone(), runtime.clone())?;
    let mut executors = vec![executor];
    if let Some(target) = versus {
        let opened = Executor::open(target, worker, cancel, runtime);
        let (executor, Prepared { database, results, is_pooled, .. }) = opened.map_err(for_second)?;
        executors.push(executor);
        prepared.versus = Some(database);
        prepared.is_pooled |= is_pooled;
        // Both databases use the same format, so that the comparison is not one of formats.
        for (statement, (used, other)) in prepared.results.iter_mut().zip(results).enumerate() {
            if used.format != other.format {
                executors.iter_mut().for_each(|executor| executor.request_text(statement));
                used.format = ResultFormat::Text;
                used.without_binary.extend(other.without_binary);
            }
        }
    }
    Ok((executors, prepared))
}
