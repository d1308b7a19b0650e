//! A proxy between an agent and its coordinator, or its database, that simulates network faults: a cut, a stall in one direction or both,
//! or a delay. It forwards bytes without interpreting them.

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

use crate::processes::address;
use crate::sieve::Sieve;

/// The number of blocks buffered in one direction. A faster sender blocks, as at a full socket.
const BLOCKS: usize = 256;

/// Directions as seen from the agent: results go to the coordinator, and rows come to the agent. The same applies to queries and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToCoordinator,
    ToAgent,
    Both,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// Every byte is delayed by this time.
    After(Duration),
    /// Nothing is delivered, and nothing is lost.
    Stalled,
}

#[derive(Debug, Clone, Copy)]
struct Network {
    /// Connections of an earlier generation are cut.
    generation: u64,
    is_open: bool,
    to_coordinator: Delivery,
    to_agent: Delivery,
    /// True while the data of the Work stream, credit and results, is held.
    holds_work: bool,
}

/// Removed with the test, together with all its connections.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// The number of new connections to close immediately.
    refusals: Arc<AtomicU32>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, which need not listen yet.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::before(Upstream::Coordinator(upstream)).await
    }

    /// Starts a proxy in front of a database whose socket is in this directory.
    pub async fn before_database(directory: &str) -> Self {
        Self::before(Upstream::Socket(format!("{directory}/.s.PGSQL.5432").into())).await
    }

    /// Starts a proxy in front of a connection pooler.
    pub async fn before_pooler(address: SocketAddr) -> Self {
        Self::before(Upstream::Pooler(address)).await
    }

    async fn before(upstream: Upstream) -> Self {
        let address = address();
        let listener = TcpListener::bind(address).await.expect("the address is unused");
        let delivery = Delivery::After(Duration::ZERO);
        let network = Network {
            generation: 0,
            is_open: true,
            to_coordinator: delivery,
            to_agent: delivery,
            holds_work: false,
        };
        let (network, state) = watch::channel(network);
        let mut task = JoinSet::new();
        let refusals = Arc::<AtomicU32>::default();
        task.spawn(accept(listener, upstream, state, Arc::clone(&refusals)));
        Self { address, network, refusals, _task: task }
    }

    /// The address that the agent dials.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, drops the bytes in transit, and refuses new ones until [`heal`](Self::heal).
    pub fn cut(&self) {
        self.network
            .send_modify(|network| (network.generation, network.is_open) = (network.generation + 1, false));
    }

    /// Closes every connection, closes the next new one immediately, and then works again.
    pub fn cut_and_refuse_once(&self) {
        self.refusals.store(1, Ordering::SeqCst);
        self.network.send_modify(|network| network.generation += 1);
    }

    pub fn stall(&self, direction: Direction) {
        self.set(direction, Delivery::Stalled);
    }

    /// Holds everything that an agent sends on its Work stream, credit and results, and forwards all of its Control stream.
    pub fn hold_work(&self) {
        self.network.send_modify(|network| network.holds_work = true);
    }

    pub fn delay(&self, by: Duration) {
        self.set(Direction::Both, Delivery::After(by));
    }

    /// Ends stalls, delays and refusals. Bytes held by [`hold_work`](Self::hold_work) are forwarded with the agent's next message.
    pub fn heal(&self) {
        self.network.send_modify(|network| (network.is_open, network.holds_work) = (true, false));
        self.set(Direction::Both, Delivery::After(Duration::ZERO));
    }

    fn set(&self, direction: Direction, delivery: Delivery) {
        self.network.send_modify(|network| {
            if direction != Direction::ToAgent {
                network.to_coordinator = delivery;
            }
            if direction != Direction::ToCoordinator {
                network.to_agent = delivery;
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
            connections.spawn(connect(agent, upstream.clone(), now.generation, network.clone()));
        }
    }
}

async fn connect(
    agent: TcpStream,
    upstream: Upstream,
    generation: u64,
    mut network: watch::Receiver<Network>,
) {
    let Ok((from_coordinator, to_coordinator)) = upstream.connect().await else { return };
    agent.set_nodelay(true).expect("it is a TCP socket");
    let (from_agent, to_agent) = agent.into_split();
    let mut sieve = Sieve::new();
    // Only gRPC has streams that can be held individually.
    let is_grpc = matches!(upstream, Upstream::Coordinator(_));
    let filter = |network: &Network, block: Vec<u8>| {
        if is_grpc { sieve.pass(&block, network.holds_work) } else { block }
    };
    let there =
        forward(from_agent, to_coordinator, network.clone(), |network| network.to_coordinator, filter);
    let all = |_: &Network, block| block;
    let back = forward(from_coordinator, to_agent, network.clone(), |network| network.to_agent, all);
    tokio::select! {
        _ = network.wait_for(|network| network.generation != generation) => {}
        ((), ()) = async { tokio::join!(there, back) } => {}
    }
}

/// Forwards one direction until its end, and then ends it on the other side.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
    delivery: fn(&Network) -> Delivery,
    mut filter: impl FnMut(&Network, Vec<u8>) -> Vec<u8>,
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
        while let Some((received_at, block)) = blocks.recv().await {
            wait_until_due(received_at, &mut network, delivery).await;
            let block = filter(&network.borrow(), block);
            if to.write_all(&block).await.is_err() {
                return;
            }
        }
        wait_until_due(Instant::now(), &mut network, delivery).await;
        // The other side may already be closed.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

async fn wait_until_due(
    received_at: Instant,
    network: &mut watch::Receiver<Network>,
    delivery: fn(&Network) -> Delivery,
) {
    loop {
        let now = delivery(&network.borrow_and_update());
        match now {
            Delivery::After(delay) if received_at.elapsed() >= delay => return,
            Delivery::After(delay) => sleep_until(received_at + delay).await,
            // An error means that the test is over; then this task ends, too.
            Delivery::Stalled => drop(network.changed().await),
        }
    }
}
