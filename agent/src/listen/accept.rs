//! Accepts connections: so many at a time, so many in a second, and with a pause and a message when the system has no more to give.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use muster_common::limits;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::bounded::{Bounded, Peer, Stay};

const SECOND: Duration = Duration::from_secs(1);

/// What a connection may cost until it is admitted.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Connections at a time; those that are admitted do not count. For one more the oldest is closed, so a client that holds connections open
    /// keeps no other client out.
    pub connections: usize,
    /// Connections in each second, those that are admitted not counted; others wait in the kernel's queue.
    pub accepts_per_second: usize,
    /// After this time a connection is closed.
    pub patience: Duration,
    /// Bytes that are read of it.
    pub bytes: u64,
    /// Bytes that are added every second.
    pub bytes_per_second: u64,
}

pub type Accepted = Bounded<TcpStream>;

/// Why the last connection was not accepted, for those who wait for one. Empty again as soon as one is accepted.
#[derive(Debug, Clone, Default)]
pub struct AcceptProblem(Arc<Mutex<Option<String>>>);

impl AcceptProblem {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// The connections that come in. Never ends, and never with an error.
pub fn accept(listener: TcpListener, terms: Terms, problem: AcceptProblem) -> impl Stream<Item = Accepted> {
    let places = Arc::new(Semaphore::new(terms.connections));
    let acceptor = Acceptor { listener, terms, places, strangers: VecDeque::new(), problem, logged_at: None };
    unfold(acceptor, |mut acceptor| async { Some((acceptor.next().await?, acceptor)) })
}

struct Acceptor {
    listener: TcpListener,
    terms: Terms,
    places: Arc<Semaphore>,
    /// Connections that are not admitted and open, or were accepted in the last second; the oldest first.
    strangers: VecDeque<(Instant, Stay)>,
    problem: AcceptProblem,
    logged_at: Option<Instant>,
}

impl Acceptor {
    /// `None` never comes: the semaphore is not closed.
    async fn next(&mut self) -> Option<Accepted> {
        let (stream, peer) = self.accept().await;
        self.keep_pace().await;
        let place = self.make_room().await?;
        // Answers are small, and a client waits for them. Without this option they only arrive later.
        let _ = stream.set_nodelay(true);
        let Terms { patience, bytes, bytes_per_second, .. } = self.terms;
        let stay = Stay::until(patience, bytes, bytes_per_second, place);
        self.strangers.push_back((Instant::now(), stay.clone()));
        let local = stream.local_addr().ok();
        Some(Bounded::new(stream, Peer { address: Some(peer), local, stay }))
    }

    async fn keep_pace(&mut self) {
        loop {
            let since = Instant::now().checked_sub(SECOND);
            let is_recent = |at: Instant| since.is_none_or(|since| at > since);
            self.strangers.retain(|(at, stay)| !stay.is_admitted() && (is_recent(*at) || stay.has_place()));
            let recent = self.strangers.iter().rev().take_while(|(at, _)| is_recent(*at)).count();
            if recent < self.terms.accepts_per_second {
                return;
            }
            sleep(limits::ACCEPT_PAUSE).await;
        }
    }

    async fn make_room(&mut self) -> Option<OwnedSemaphorePermit> {
        let mut open = self.strangers.iter().filter(|(_, stay)| stay.has_place());
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Some(place);
            }
            if let Some((_, oldest)) = open.next() {
                oldest.close();
            }
            let place = Arc::clone(&self.places).acquire_owned();
            // Longer than it takes to close one.
            if let Ok(place) = timeout(limits::ACCEPT_PAUSE, place).await {
                return place.ok();
            }
        }
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.problem.set(None);
                    return accepted;
                }
                // The connection's own fault; there is no reason to let the next one wait.
                Err(error) if is_of_connection(&error) => {
                    debug!("a connection ended before it was accepted: {error}")
                }
                Err(error) => {
                    self.report(&error);
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn report(&mut self, error: &io::Error) {
        let problem = format!("cannot accept a connection: {error}{}", cure(error));
        let now = Instant::now();
        let is_due = |at: Instant| now >= at + limits::ACCEPT_PROBLEM_LOGGED_EVERY;
        if self.logged_at.is_none_or(is_due) {
            self.logged_at = Some(now);
            warn!("{problem}");
        }
        self.problem.set(Some(problem));
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn cure(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; a larger `ulimit -n` allows more",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;

    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    const TERMS: Terms = Terms {
        connections: 4,
        accepts_per_second: 6,
        patience: Duration::from_secs(300),
        bytes: 1 << 10,
        bytes_per_second: 0,
    };
    const WITHIN: Duration = Duration::from_secs(60);

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn for_one_more_than_there_is_room_for_the_oldest_is_closed_unless_it_is_admitted() {
        let (listener, address) = listening().await;
        let mut accepted = pin!(accept(listener, TERMS, AcceptProblem::default()));
        let mut open = Vec::new();
        for _ in 0..TERMS.connections {
            let client = TcpStream::connect(address).await.unwrap();
            open.push((client, accepted.next().await.unwrap()));
        }
        let (_admitted, mut kept) = open.remove(0);
        kept.stay().admit();
        let _in_its_place = (TcpStream::connect(address).await.unwrap(), accepted.next().await.unwrap());
        let (_client, mut oldest) = open.remove(0);
        let _one_more = TcpStream::connect(address).await.unwrap();
        // The server reads an error and drops the connection.
        let closed = async {
            let error = oldest.read_u8().await.unwrap_err();
            drop(oldest);
            error
        };
        let (next, error) = timeout(WITHIN, async { tokio::join!(accepted.next(), closed) }).await.unwrap();
        assert!(next.is_some());
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        for stays in open.iter_mut().map(|(_, stays)| stays).chain([&mut kept]) {
            assert!(timeout(Duration::from_millis(50), stays.read_u8()).await.is_err(), "it was closed");
        }
    }

    #[tokio::test]
    async fn connections_that_end_at_once_are_accepted_at_a_bounded_rate() {
        let (listener, address) = listening().await;
        let mut accepted = pin!(accept(listener, TERMS, AcceptProblem::default()));
        let began = Instant::now();
        for _ in 0..=TERMS.accepts_per_second {
            drop(TcpStream::connect(address).await.unwrap());
            drop(accepted.next().await.unwrap());
        }
        assert!(began.elapsed() >= SECOND, "{:?}", began.elapsed());
    }
}
