//! A network between an agent and its coordinator, or its database, that can fail: cut, stalled in one direction or both, or slow. It
//! forwards bytes without interpreting them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::processes::address;
use super::sieve::Sieve;

/// Blocks on their way in one direction; a sender that is faster waits, as at a full socket.
const BLOCKS: usize = 256;

/// Directions as seen from the agent: results go to the coordinator, and rows come to the agent. The same applies to queries and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToCoordinator,
    ToAgent,
    Both,
}

#[derive(Debug, Clone, Copy)]
enum Lane {
    /// Every byte comes so much later.
    Flows(Duration),
    /// Nothing comes, and nothing is lost either.
    Stalls,
}

#[derive(Debug, Clone, Copy)]
struct Network {
    /// Connections of an earlier age are cut.
    age: u64,
    is_open: bool,
    to_coordinator: Lane,
    to_agent: Lane,
    /// Credit and results stay here.
    holds_work: bool,
}

/// Gone with the test, and all its connections with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// New connections to close at once.
    refusals: Arc<AtomicU32>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of `upstream`, which need not listen yet.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        Self::before(Upstream::Coordinator(upstream)).await
    }

    /// In front of a database whose socket is in this directory.
    pub(crate) async fn before_database(directory: &str) -> Self {
        Self::before(Upstream::Socket(format!("{directory}/.s.PGSQL.5432").into())).await
    }

    /// In front of a connection pooler.
    pub(crate) async fn before_pooler(address: SocketAddr) -> Self {
        Self::before(Upstream::Pooler(address)).await
    }

    async fn before(upstream: Upstream) -> Self {
        let address = address();
        let listener = TcpListener::bind(address).await.expect("nobody else has this address");
        let lane = Lane::Flows(Duration::ZERO);
        let network =
            Network { age: 0, is_open: true, to_coordinator: lane, to_agent: lane, holds_work: false };
        let (network, state) = watch::channel(network);
        let mut task = JoinSet::new();
        let refusals = Arc::<AtomicU32>::default();
        task.spawn(accept(listener, upstream, state, Arc::clone(&refusals)));
        Self { address, network, refusals, _task: task }
    }

    /// Where the agent finds its coordinator.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and what is on its way, and refuses new ones until [`heal`](Self::heal).
    pub(crate) fn cut(&self) {
        self.network.send_modify(|network| (network.age, network.is_open) = (network.age + 1, false));
    }

    /// Ends every connection, closes the next new one at once, and then works again.
    pub(crate) fn cut_and_refuse_once(&self) {
        self.refusals.store(1, Ordering::SeqCst);
        self.network.send_modify(|network| network.age += 1);
    }

    pub(crate) fn stall(&self, way: Way) {
        self.set(way, Lane::Stalls);
    }

    /// Nothing of an agent's Work stream comes, be it rows that it has room for or results, and all of its Control stream does.
    pub(crate) fn hold_work(&self) {
        self.network.send_modify(|network| network.holds_work = true);
    }

    pub(crate) fn delay(&self, by: Duration) {
        self.set(Way::Both, Lane::Flows(by));
    }

    /// What was stalled goes on, what was held with the next beat, and new connections come through.
    pub(crate) fn heal(&self) {
        self.network.send_modify(|network| (network.is_open, network.holds_work) = (true, false));
        self.set(Way::Both, Lane::Flows(Duration::ZERO));
    }

    fn set(&self, way: Way, lane: Lane) {
        self.network.send_modify(|network| {
            if way != Way::ToAgent {
                network.to_coordinator = lane;
            }
            if way != Way::ToCoordinator {
                network.to_agent = lane;
            }
        });
    }
}

#[derive(Debug, Clone)]
enum Upstream {
    Coordinator(SocketAddr),
    Pooler(SocketAddr),
    Socket(PathBuf),
}

type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl Upstream {
    async fn connect(&self) -> std::io::Result<Halves> {
        match self {
            Self::Coordinator(address) | Self::Pooler(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true).expect("it is a TCP socket");
                let (from, to) = stream.into_split();
                Ok((Box::new(from), Box::new(to)))
            }
            Self::Socket(path) => {
                let (from, to) = UnixStream::connect(path).await?.into_split();
                Ok((Box::new(from), Box::new(to)))
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Upstream,
    network: watch::Receiver<Network>,
    refusals: Arc<AtomicU32>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((agent, _)) = listener.accept().await else { return };
        let now = *network.borrow();
        let one_less = |left: u32| left.checked_sub(1);
        let is_refused = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        if now.is_open && !is_refused {
            connections.spawn(connect(agent, upstream.clone(), now.age, network.clone()));
        }
    }
}

async fn connect(agent: TcpStream, upstream: Upstream, age: u64, mut network: watch::Receiver<Network>) {
    let Ok((from_coordinator, to_coordinator)) = upstream.connect().await else { return };
    agent.set_nodelay(true).expect("it is a TCP socket");
    let (from_agent, to_agent) = agent.into_split();
    let mut sieve = Sieve::new();
    // Only gRPC has streams that can be held individually.
    let is_grpc = matches!(upstream, Upstream::Coordinator(_));
    let sift = |network: &Network, block: Vec<u8>| {
        if is_grpc { sieve.pass(&block, network.holds_work) } else { block }
    };
    let there = forward(from_agent, to_coordinator, network.clone(), |network| network.to_coordinator, sift);
    let all = |_: &Network, block| block;
    let back = forward(from_coordinator, to_agent, network.clone(), |network| network.to_agent, all);
    tokio::select! {
        _ = network.wait_for(|network| network.age != age) => {}
        ((), ()) = async { tokio::join!(there, back) } => {}
    }
}

/// One direction until its end, which goes on, too.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
    lane: fn(&Network) -> Lane,
    mut sift: impl FnMut(&Network, Vec<u8>) -> Vec<u8>,
) {
    let (sender, mut blocks) = mpsc::channel::<(Instant, Vec<u8>)>(BLOCKS);
    let read = async move {
        let mut block = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut block).await {
            if sender.send((Instant::now(), block[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((came, block)) = blocks.recv().await {
            until_due(came, &mut network, lane).await;
            let block = sift(&network.borrow(), block);
            if to.write_all(&block).await.is_err() {
                return;
            }
        }
        until_due(Instant::now(), &mut network, lane).await;
        // The other side may be gone already.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

async fn until_due(came: Instant, network: &mut watch::Receiver<Network>, lane: fn(&Network) -> Lane) {
    loop {
        let now = lane(&network.borrow_and_update());
        match now {
            Lane::Flows(delay) if came.elapsed() >= delay => return,
            Lane::Flows(delay) => sleep_until(came + delay).await,
            // An error means that the test is over, and so is this task.
            Lane::Stalls => drop(network.changed().await),
        }
    }
}
