//! What an agent stands on: the network, its workplace, chance; and who watches it. A test can put others in their place and runs
//! everything else as it is.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Coordinator;
use crate::databases::Databases;
use crate::metrics::AgentMetrics;
use crate::workplace::Workplace;

#[derive(Clone)]
pub struct Surroundings {
    pub network: Network,
    pub workplace: Arc<dyn Workplace>,
    /// Seeds the jitter of retries, and distinguishes this process from all others.
    pub seed: u64,
    pub metrics: AgentMetrics,
}

/// How a coordinator is reached.
#[derive(Clone)]
pub enum Network {
    Tcp,
    Other(Connect),
}

/// Opens a connection, all of it but TLS.
pub type Connect =
    Arc<dyn Fn(&Coordinator) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> + Send + Sync>;

pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Surroundings {
    /// TCP, threads and PostgreSQL; nobody watches.
    pub fn real() -> Self {
        let (workplace, seed) = (Arc::new(Databases::default()), random_seed());
        Self { network: Network::Tcp, workplace, seed, metrics: AgentMetrics::default() }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Different in each process and at each call; nothing here needs more than that.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}
