//! Joining a run: sends Hello and receives the reply.

use muster_core::limits;
use muster_proto::control::{FromAgent, FromCoordinator, Hello, Standby, Welcome};
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::config::AgentConfig;
use crate::dial::Client;
use crate::history::History;
use crate::session_end::{SessionError, causes};

/// The role that the coordinator gave to this agent.
pub(crate) enum Joined {
    /// The agent has a slot.
    Placed(Welcome),
    /// The agent waits for a slot.
    OnStandby(Standby),
}

/// The Control stream of a session, both directions.
pub(crate) struct Control {
    sender: mpsc::Sender<v1::AgentControl>,
    inbound: Streaming<v1::CoordinatorControl>,
}

impl Control {
    /// Never waits: a full queue means that the peer is dead.
    pub(crate) fn send(&self, message: FromAgent) -> Result<(), SessionError> {
        self.sender.try_send(message.into()).map_err(|_| SessionError::Closed("control"))
    }

    /// Returns a function with which another task can send messages. A message is dropped when the queue is full.
    pub(crate) fn lossy_sender(&self) -> impl Fn(FromAgent) + Send + 'static {
        let sender = self.sender.clone();
        move |message| drop(sender.try_send(message.into()))
    }

    pub(crate) async fn receive(&mut self) -> Result<FromCoordinator, SessionError> {
        let message = self.inbound.message().await?.ok_or(SessionError::Closed("control"))?;
        Ok(message.try_into()?)
    }
}

/// Sends Hello and waits for the reply.
///
/// # Errors
/// When the coordinator does not reply in time, or rejects the agent.
pub(crate) async fn join(
    client: &mut Client,
    config: &AgentConfig,
    history: &History,
) -> Result<(Control, Joined), SessionError> {
    let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX + limits::SERVERS_MAX);
    sender.try_send(FromAgent::Hello(hello(config, history)).into()).expect("a new channel has room");
    let reply = async {
        let inbound = client.control(ReceiverStream::new(receiver)).await.map_err(join_error)?.into_inner();
        let mut control = Control { sender, inbound };
        let first = control.receive().await?;
        Ok::<_, SessionError>((control, first))
    };
    let (control, first) = timeout(limits::HELLO_TIMEOUT, reply)
        .await
        .map_err(|_| SessionError::Silent(limits::HELLO_TIMEOUT))??;
    match first {
        FromCoordinator::Welcome(welcome) => Ok((control, Joined::Placed(welcome))),
        FromCoordinator::Standby(standby) => Ok((control, Joined::OnStandby(standby))),
        FromCoordinator::Reject { reason, retry: true } => Err(SessionError::Full { reason }),
        FromCoordinator::Reject { reason, retry: false } => Err(SessionError::Refused { reason }),
        _ => Err(SessionError::Protocol("the reply to Hello was neither Welcome, Standby nor Reject")),
    }
}

/// Explains why the coordinator did not open the Control stream, for example because the join secret is missing or wrong.
fn join_error(status: Status) -> SessionError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated => SessionError::Refused { reason },
        Code::ResourceExhausted => SessionError::Full { reason },
        // An HTTP/2 client reads the first bytes of a TLS alert as the length of a frame that is too large.
        _ if causes(&status).contains("frame with invalid size") => SessionError::Unreachable {
            causes: "it requires TLS: use --join with the join string that `coordinator token` prints there, or --tls-cert".to_owned(),
        },
        _ => SessionError::Broken(status),
    }
}

fn hello(config: &AgentConfig, history: &History) -> Hello {
    Hello {
        protocol_version: limits::PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: machine_name(),
        process_id: std::process::id(),
        workers: config.workers,
        slot: config.slot,
        has_database: config.database.is_some(),
        ended: history.ended.clone(),
        can_report_stats: true,
        instance: history.instance,
        ran: history.ran.clone(),
        former: history.unacked.as_ref().map(|unacked| unacked.sessions.clone()).unwrap_or_default(),
    }
}

fn machine_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}
