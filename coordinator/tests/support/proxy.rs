//! A network between an agent and its coordinator that can be bad: cut, stalled in one direction or both, or slow. It forwards bytes
//! and knows nothing of what they mean.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::processes::address;
use super::sieve::Sieve;

/// Blocks on their way in one direction; a sender that is faster waits, as at a full socket.
const BLOCKS: usize = 256;

/// Seen from the agent: results go to the coordinator, rows come to the agent.
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
    _task: JoinSet<()>,
}

impl Proxy {
    /// In front of `upstream`, which need not listen yet.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let address = address();
        let listener = TcpListener::bind(address).await.expect("nobody else has this address");
        let lane = Lane::Flows(Duration::ZERO);
        let network =
            Network { age: 0, is_open: true, to_coordinator: lane, to_agent: lane, holds_work: false };
        let (network, state) = watch::channel(network);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, upstream, state));
        Self { address, network, _task: task }
    }

    /// Where the agent finds its coordinator.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and what is on its way, and refuses new ones until [`heal`](Self::heal).
    pub(crate) fn cut(&self) {
        self.network.send_modify(|network| (network.age, network.is_open) = (network.age + 1, false));
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

async fn accept(listener: TcpListener, upstream: SocketAddr, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((agent, _)) = listener.accept().await else { return };
        let now = *network.borrow();
        if now.is_open {
            connections.spawn(connect(agent, upstream, now.age, network.clone()));
        }
    }
}

async fn connect(agent: TcpStream, upstream: SocketAddr, age: u64, mut network: watch::Receiver<Network>) {
    let Ok(coordinator) = TcpStream::connect(upstream).await else { return };
    for socket in [&agent, &coordinator] {
        socket.set_nodelay(true).expect("it is a TCP socket");
    }
    let (from_agent, to_agent) = agent.into_split();
    let (from_coordinator, to_coordinator) = coordinator.into_split();
    let mut sieve = Sieve::new();
    let sift = |network: &Network, block: Vec<u8>| sieve.pass(&block, network.holds_work);
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
