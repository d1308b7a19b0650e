//! Work that blocks, on a thread of its own. tokio's `spawn_blocking` panics where the system starts no more threads, and so do its name
//! lookups; here that is an error.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

/// What `work` returns. Who stops waiting leaves the work to itself.
///
/// # Errors
/// When no thread can be started, or the work panicked.
pub async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    start(name, work)?.await.map_err(|_| io::Error::other(format!("the thread '{name}' broke")))
}

/// The same, where the work goes on before anybody waits for it.
///
/// # Errors
/// When no thread can be started.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    let run = move || drop(sender.send(work()));
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(cannot_start)?;
    Ok(receiver)
}

/// The addresses of a host. No thread is needed where it is an address.
///
/// # Errors
/// The resolver's, or when no thread can be started for it.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let host = host.to_owned();
    blocking("resolver", move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await?
}

/// The kernel says no more than that a resource is not available.
pub(crate) fn cannot_start(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "cannot start a thread: {error}; the limit is that of processes (`ulimit -u`, pids.max) or memory"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_work_returns_comes_back_and_a_panic_is_an_error() {
        assert_eq!(blocking("seven", || 7).await.unwrap(), 7);
        let broken = blocking("breaks", || -> u8 { panic!("on purpose") }).await.unwrap_err();
        assert!(broken.to_string().contains("'breaks'"), "{broken}");
    }

    #[tokio::test]
    async fn an_address_is_its_own_address() {
        let found = addresses("::1", 5).await.unwrap();
        assert_eq!(found, ["[::1]:5".parse().unwrap()]);
        assert!(addresses("localhost", 5).await.unwrap().iter().all(|found| found.ip().is_loopback()));
    }
}
