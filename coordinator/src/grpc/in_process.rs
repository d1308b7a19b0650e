//! Connections of agents inside this process. They pass no port, so no other process can use them or read along.

use std::io;
use std::sync::Arc;

use muster_agent::surroundings::{ByteStream, Connect};
use muster_common::limits;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The coordinator's ends of the connections.
pub(crate) type Arrivals = ReceiverStream<DuplexStream>;

/// Where there is no agent in this process.
pub(super) fn no_agents() -> Arrivals {
    ReceiverStream::new(mpsc::channel(1).1)
}

/// How agents dial, and where that arrives.
pub(crate) fn channel() -> (Connect, Arrivals) {
    let (sender, receiver) = mpsc::channel(1);
    let connect: Connect = Arc::new(move |_| {
        let sender = sender.clone();
        Box::pin(async move {
            let (agents, ours) = duplex(limits::IN_PROCESS_BUFFER_BYTES);
            let over = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the run is over");
            sender.send(ours).await.map_err(over)?;
            Ok(Box::new(agents) as Box<dyn ByteStream>)
        })
    });
    (connect, ReceiverStream::new(receiver))
}
