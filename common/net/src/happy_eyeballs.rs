//! Opens a TCP connection to a name that may have several IPv4 and IPv6 addresses. Each is tried, and an address that does not answer
//! delays the next attempt only briefly (RFC 8305, "Happy Eyeballs").

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use muster_core::limits;
use muster_process::blocking::addresses;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Connects to the first address of `host` that answers, in the order of the system's resolver. An IPv6 address is given without brackets.
/// The caller limits the time.
///
/// # Errors
/// The error of each address.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    first_of(addresses(host, port).await?.into(), limits::NEXT_ADDRESS_AFTER).await
}

async fn first_of(mut addresses: VecDeque<SocketAddr>, next_after: Duration) -> io::Result<TcpStream> {
    let is_one = addresses.len() == 1;
    let mut attempts = FuturesUnordered::new();
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    loop {
        attempts
            .extend(addresses.pop_front().map(async |address| (address, TcpStream::connect(address).await)));
        tokio::select! {
            Some((address, connected)) = attempts.next() => match connected {
                Ok(stream) => return Ok(stream),
                Err(error) if is_one => return Err(error),
                Err(error) => failed.push((address, error)),
            },
            () = sleep(next_after), if !addresses.is_empty() => {}
            else => return Err(joined(&failed)),
        }
    }
}

fn joined(failed: &[(SocketAddr, io::Error)]) -> io::Error {
    let each: Vec<String> = failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    match each.is_empty() {
        true => io::Error::other("the name has no address"),
        false => io::Error::other(each.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3_600);
    const WITHIN: Duration = Duration::from_secs(60);

    /// Returns an address that refuses connections: the port was bound and is free again.
    async fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn after_a_refusal_the_next_address_is_tried_at_once() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let stream = timeout(WITHIN, first_of([refusing().await, answers].into(), NEVER)).await;
        assert_eq!(stream.expect("the next one is tried").unwrap().peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_delays_the_next_one_only_briefly() {
        // The queue of this socket is full, so that connections are dropped, as by a firewall.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(1).unwrap();
        let unanswered = silent.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(queued) = timeout(Duration::from_millis(200), TcpStream::connect(unanswered)).await {
            queue.push(queued.unwrap());
            assert!(queue.len() < 100, "the queue is never full");
        }
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let stream =
            timeout(WITHIN, first_of([unanswered, answers].into(), limits::NEXT_ADDRESS_AFTER)).await;
        assert_eq!(stream.expect("the next one is tried").unwrap().peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn the_first_address_is_used_if_it_answers() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.2:0").await.unwrap(),
        ];
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let stream = first_of(addresses.into(), NEVER).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[0]);
    }

    #[tokio::test]
    async fn the_error_names_each_address() {
        let (one, other) = (refusing().await, refusing().await);
        let error = first_of([one, other].into(), NEVER).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{one}: ")) && error.contains(&format!("{other}: ")), "{error}");
        assert!(error.contains("refused"), "{error}");
        assert!(first_of(VecDeque::new(), NEVER).await.is_err());
    }
}
