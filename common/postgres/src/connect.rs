//! Opens connections with tokio-postgres: for a client, or for the thread of a worker.

use std::io;

use tokio_postgres::{CancelToken, Client};

use crate::address::Address;
use crate::connection::Request;
use crate::failure::{ConnectError, Problem, with_causes};
use crate::peer::Peer;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::transport::Transport;

pub use crate::cancel::cancel;
pub use crate::connection::Connection;
pub use crate::session_setup::SessionSetup;

/// A connection for a worker's thread.
pub(crate) struct WorkerConnection {
    pub(crate) stream: Stream,
    pub(crate) token: CancelToken,
    pub(crate) address: Address,
    pub(crate) peer: Peer,
}

/// Opens a connection for queries that tokio-postgres runs. Tries each address in turn, with the connect timeout for each. With
/// `prefer-standby` a second attempt accepts any server.
///
/// # Errors
/// The reason for each address.
pub async fn connect(
    settings: &Settings,
    application_name: &str,
    setup: &SessionSetup,
) -> Result<Connection, ConnectError> {
    Request { settings, application_name, setup, is_for_worker: false }.open().await
}

/// Opens a connection for the thread of a worker, in the same way. `ask` sends queries to the server before the thread gets the connection.
///
/// # Errors
/// When there is no connection, or when `ask` fails.
pub(crate) async fn connect_worker<T>(
    settings: &Settings,
    application_name: &str,
    setup: &SessionSetup,
    ask: impl AsyncFnOnce(&Client, &Address, &Peer) -> Result<T, String>,
) -> Result<(WorkerConnection, T), String> {
    let request = Request { settings, application_name, setup, is_for_worker: true };
    let opened = request.open().await.map_err(|error| error.to_string())?;
    let Connection { client, mut driver, address, peer, is_encrypted: _, relay } = opened;
    let broken = |error: &dyn std::error::Error| {
        let problem = Problem::Broken(with_causes(error));
        ConnectError::new(settings, vec![(address.to_string(), problem)]).to_string()
    };
    let answer = {
        let mut asking = std::pin::pin!(async {
            let answer = ask(&client, &address, &peer).await?;
            // An error arrives before its ReadyForQuery. This query returns when the rest of the previous response has been read.
            client.simple_query("").await.map_err(|error| broken(&error))?;
            Ok::<T, String>(answer)
        });
        tokio::select! {
            answer = &mut asking => answer,
            () = driver.drive() => {
                // The end of the connection makes `asking` return.
                drop(driver);
                asking.await
            }
        }
    }?;
    let taken = match relay {
        Some(relay) => relay.take_back().await.and_then(Transport::into_blocking),
        None => Err(io::Error::other("the connection has no relay")),
    };
    let stream = taken.map_err(|error| broken(&error))?;
    Ok((WorkerConnection { stream, token: client.cancel_token(), address, peer }, answer))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::environment::Environment;

    async fn read_message(stream: &mut TcpStream) {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
    }

    /// Regression test: the client waited forever.
    #[tokio::test]
    async fn a_connection_that_ends_during_set_up_is_an_error() {
        const AUTHENTICATED_AND_READY: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        const EMPTY_AND_READY: &[u8] = b"I\0\0\0\x04Z\0\0\0\x05I";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_message(&mut stream).await;
            stream.write_all(AUTHENTICATED_AND_READY).await.unwrap();
            // The server responds to the set-up queries and closes the connection at the next query.
            for answer in [EMPTY_AND_READY, EMPTY_AND_READY, b""] {
                assert_eq!(stream.read_u8().await.unwrap(), b'Q');
                read_message(&mut stream).await;
                stream.write_all(answer).await.unwrap();
            }
        });
        let url = format!("postgresql://u@127.0.0.1:{port}/db?sslmode=disable");
        let settings = Settings::resolve(Some(&url.into()), &Environment::empty()).unwrap();
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: None,
            plan_cache_mode: None,
        };
        let ask = async |client: &Client, _: &Address, _: &Peer| {
            let asked = client.simple_query("SELECT 1").await;
            asked.map_err(|error| error.to_string())
        };
        let asked = timeout(Duration::from_secs(10), connect_worker(&settings, "muster", &setup, ask));
        assert!(asked.await.expect("it ends").is_err());
        server.await.unwrap();
    }
}
