//! What an agent depends on: the network, the driver, a random seed and metrics. A test can replace each of them and run the rest
//! unchanged.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_net::address::Coordinator;
use muster_process::random;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::databases::Databases;
use crate::driver::Driver;
use crate::metrics::AgentMetrics;

#[derive(Clone)]
pub struct Runtime {
    pub network: Network,
    pub driver: Arc<dyn Driver>,
    /// Seeds the jitter of retries and identifies this process to the coordinator.
    pub seed: u64,
    pub metrics: AgentMetrics,
}

/// How an agent connects to a coordinator.
#[derive(Clone)]
pub enum Network {
    Tcp,
    Other(Connect),
}

/// Opens a connection. TLS, if any, is added by the caller.
pub type Connect =
    Arc<dyn Fn(&Coordinator) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync>;

pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Runtime {
    /// TCP, threads and PostgreSQL, without metrics.
    pub fn real() -> Self {
        let (driver, seed) = (Arc::new(Databases::default()), random::seed());
        Self { network: Network::Tcp, driver, seed, metrics: AgentMetrics::default() }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("seed", &self.seed).finish_non_exhaustive()
    }
}
