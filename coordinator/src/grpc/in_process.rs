//! Connections of agents inside this process. They use no port, so no other process can connect or eavesdrop.

use std::io;
use std::sync::Arc;

use muster_agent::runtime::{ByteStream, Connect};
use muster_core::limits;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The coordinator's ends of the in-process connections.
pub(crate) type Arrivals = ReceiverStream<DuplexStream>;

/// A stream for a process without agents.
pub(super) fn no_agents() -> Arrivals {
    ReceiverStream::new(mpsc::channel(1).1)
}

/// Returns the function with which agents connect, and the stream of the coordinator's ends of these connections.
pub(crate) fn channel() -> (Connect, Arrivals) {
    let (sender, receiver) = mpsc::channel(1);
    let connect: Connect = Arc::new(move |_| {
        let sender = sender.clone();
        Box::pin(async move {
            let (agent_end, coordinator_end) = duplex(limits::IN_PROCESS_BUFFER_BYTES);
            let over = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the run is over");
            sender.send(coordinator_end).await.map_err(over)?;
            Ok(Box::new(agent_end) as Box<dyn ByteStream>)
        })
    });
    (connect, ReceiverStream::new(receiver))
}
