//! Runs blocking work on a new thread. tokio's `spawn_blocking` and its name lookups panic when the system cannot start another thread.
//! Here that is an error.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a new thread and returns its result. If this future is dropped, the work continues and its result is discarded.
///
/// # Errors
/// When no thread can be started, or the work panicked.
pub async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    start(name, work)?.await.map_err(|_| io::Error::other(format!("the thread '{name}' panicked")))
}

/// Starts `work` on a new thread at once, without waiting for its result. Dropping the receiver discards the result.
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

/// Returns the addresses of a host. If `host` is an IP address, no thread is started.
///
/// # Errors
/// The error of the resolver, or when no thread can be started for it.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let host = host.to_owned();
    blocking("resolver", move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await?
}

/// Adds the likely cause to an error of the kernel, which states only that a resource is not available.
pub(crate) fn cannot_start(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "cannot start a thread: {error}; raise the limit of processes (`ulimit -u`, pids.max) or memory"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_is_returned_and_a_panic_is_an_error() {
        assert_eq!(blocking("seven", || 7).await.unwrap(), 7);
        let error = blocking("panics", || -> u8 { panic!("on purpose") }).await.unwrap_err();
        assert!(error.to_string().contains("'panics'"), "{error}");
    }

    #[tokio::test]
    async fn an_ip_address_is_returned_as_it_is() {
        let found = addresses("::1", 5).await.unwrap();
        assert_eq!(found, ["[::1]:5".parse().unwrap()]);
        assert!(addresses("localhost", 5).await.unwrap().iter().all(|found| found.ip().is_loopback()));
    }
}
