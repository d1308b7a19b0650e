//! Joining a run: Hello out, the answer back.

use muster_common::limits;
use muster_proto::control::{FromAgent, FromCoordinator, Hello, StandBy, Welcome};
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::config::AgentConfig;
use crate::dial::{Client, causes};
use crate::session::{KeptResults, Past, SessionError};

/// What an agent became.
pub(crate) enum Joined {
    /// It holds a slot.
    Placed(Welcome),
    /// It waits for one.
    StandingBy(StandBy),
}

/// The Control stream of a session, both directions.
pub(crate) struct Control {
    sender: mpsc::Sender<v1::AgentControl>,
    inbound: Streaming<v1::CoordinatorControl>,
}

impl Control {
    /// Never waits: a full queue is a dead peer.
    pub(crate) fn send(&self, message: FromAgent) -> Result<(), SessionError> {
        self.sender.try_send(message.into()).map_err(|_| SessionError::Closed("control"))
    }

    /// For a task that says something by itself; what it says is lost when the queue is full.
    pub(crate) fn sideline(&self) -> impl Fn(FromAgent) + Send + 'static {
        let sender = self.sender.clone();
        move |message| drop(sender.try_send(message.into()))
    }

    pub(crate) async fn receive(&mut self) -> Result<FromCoordinator, SessionError> {
        let message = self.inbound.message().await?.ok_or(SessionError::Closed("control"))?;
        Ok(message.try_into()?)
    }
}

/// # Errors
/// When nobody answers, or with a refusal.
pub(crate) async fn join(
    client: &mut Client,
    config: &AgentConfig,
    past: &Past,
    kept: Option<&KeptResults>,
) -> Result<(Control, Joined), SessionError> {
    let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX + limits::SERVERS_MAX);
    sender.try_send(FromAgent::Hello(hello(config, past, kept)).into()).expect("a new channel has room");
    let answer = async {
        let inbound = client.control(ReceiverStream::new(receiver)).await.map_err(refused)?.into_inner();
        let mut control = Control { sender, inbound };
        let first = control.receive().await?;
        Ok::<_, SessionError>((control, first))
    };
    let (control, first) = timeout(limits::HELLO_TIMEOUT, answer)
        .await
        .map_err(|_| SessionError::Silent(limits::HELLO_TIMEOUT))??;
    match first {
        FromCoordinator::Welcome(welcome) => Ok((control, Joined::Placed(welcome))),
        FromCoordinator::StandBy(stand_by) => Ok((control, Joined::StandingBy(stand_by))),
        FromCoordinator::Reject { reason, retry: true } => Err(SessionError::Full { reason }),
        FromCoordinator::Reject { reason, retry: false } => Err(SessionError::Refused { reason }),
        _ => Err(SessionError::Protocol("the answer to Hello was neither Welcome, StandBy nor Reject")),
    }
}

/// Who shows no secret that counts gets no further than this.
fn refused(status: Status) -> SessionError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated => SessionError::Refused { reason },
        Code::ResourceExhausted => SessionError::Full { reason },
        // The first bytes of an alert in TLS are the length of such a frame.
        _ if causes(&status).contains("frame with invalid size") => SessionError::Unreachable {
            causes: "the coordinator there requires TLS: use --join with what `coordinator token` prints there, or --tls-cert".to_owned(),
        },
        _ => SessionError::Broken(status),
    }
}

fn hello(config: &AgentConfig, past: &Past, kept: Option<&KeptResults>) -> Hello {
    Hello {
        protocol_version: limits::PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: machine_name(),
        process_id: std::process::id(),
        workers: config.workers,
        slot: config.slot,
        has_database: config.database.is_some(),
        ended: past.ended.clone(),
        can_look: true,
        instance: past.instance,
        ran: past.ran.clone(),
        former: kept.map(|kept| kept.sessions.clone()).unwrap_or_default(),
    }
}

fn machine_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}
