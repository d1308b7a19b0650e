//! The Control stream of one agent: handles Hello, heartbeats and the fence. All other messages go to the controller.

use std::time::Instant;

use muster_core::lease::Fence;
use muster_core::limits;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::admission::ConnectionInfo;
use crate::clock;
use crate::run::{Admission, ControlSender, ControllerHandle, Handover, Joining, Loss, MemberId, Refusal};

/// Serves one stream from its first message to its end.
pub(super) async fn serve(
    inbound: Streaming<v1::AgentControl>,
    connection: ConnectionInfo,
    sender: mpsc::Sender<Result<v1::CoordinatorControl, Status>>,
    controller: ControllerHandle,
    handover: Handover,
) {
    match admit(inbound, &connection, ControlSender::new(sender.clone()), &controller, handover).await {
        Ok(Some(session)) => {
            session.run(controller).await;
            connection.leave();
        }
        Ok(None) => {}
        Err(status) => {
            // An unauthenticated peer that does not read its stream gets no error.
            let _ = sender.try_send(Err(status));
        }
    }
}

/// The session of an admitted agent.
struct ControlSession {
    member: MemberId,
    fence: Fence,
    inbound: Streaming<v1::AgentControl>,
    control: ControlSender,
    ended: CancellationToken,
    clock_zero: Instant,
}

/// Reads Hello and replies with Welcome or Reject. Returns `None` after a Reject.
async fn admit(
    mut inbound: Streaming<v1::AgentControl>,
    connection: &ConnectionInfo,
    control: ControlSender,
    controller: &ControllerHandle,
    handover: Handover,
) -> Result<Option<ControlSession>, Status> {
    let hello = read_hello(&mut inbound).await?;
    let admission = match check_version(&hello) {
        Ok(()) => {
            // Checked only if needed: the time to find the owner of a socket grows with the number of sockets on the machine.
            let is_private = handover.includes(hello.has_database) && connection.is_private().await;
            controller.join(Joining { hello, is_private, control: control.clone() }).await
        }
        Err(refusal) => Err(refusal),
    };
    match admission {
        // The controller has already sent Welcome. If it were sent here, it could follow the Bye of a run that ends at this moment.
        Ok(Admission { member, ended, clock_zero }) => {
            connection.admit();
            let fence = Fence::new(clock::now());
            Ok(Some(ControlSession { member, fence, inbound, control, ended, clock_zero }))
        }
        Err(Refusal { reason, retry }) => {
            control.send(FromCoordinator::Reject { reason, retry });
            Ok(None)
        }
    }
}

async fn read_hello(inbound: &mut Streaming<v1::AgentControl>) -> Result<Hello, Status> {
    let first = timeout(limits::HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello received"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before Hello"))?;
    match FromAgent::try_from(first) {
        Ok(FromAgent::Hello(hello)) => Ok(hello),
        Ok(_) => Err(Status::invalid_argument("the first message must be Hello")),
        Err(malformed) => Err(Status::invalid_argument(malformed.to_string())),
    }
}

fn check_version(hello: &Hello) -> Result<(), Refusal> {
    if hello.protocol_version == limits::PROTOCOL_VERSION {
        return Ok(());
    }
    let reason = format!(
        "this coordinator ({}) uses protocol version {}, the agent ({}) uses {}; run the same version of both",
        env!("CARGO_PKG_VERSION"),
        limits::PROTOCOL_VERSION,
        hello.version,
        hello.protocol_version
    );
    Err(Refusal { reason, retry: false })
}

impl ControlSession {
    /// Serves the stream until the session ends. Every end is reported as a loss; the controller decides which of them are losses.
    async fn run(mut self, controller: ControllerHandle) {
        let ended = self.ended.clone();
        let loss = tokio::select! {
            biased;
            () = ended.cancelled() => Loss::because("ended"),
            loss = self.receive(&controller) => Loss { lapses_at: Some(self.fence.expires_at()), ..loss },
        };
        controller.lost(self.member, loss).await;
    }

    /// Receives messages until the stream ends. Returns the reason for the end.
    async fn receive(&mut self, controller: &ControllerHandle) -> Loss {
        loop {
            let message = tokio::select! {
                // Messages that have arrived take precedence over the fence, even when this task runs late.
                biased;
                message = self.inbound.message() => message,
                () = sleep_until(self.fence.expires_at().into()) => {
                    return Loss::because(format!("no heartbeat for {:?}", limits::FENCE));
                }
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Loss::because("closed its connection"),
                Err(status) => return Loss::because(format!("connection broke: {}", status.message())),
            };
            match FromAgent::try_from(message) {
                Ok(FromAgent::Beat(number)) => {
                    self.fence.beat(clock::now());
                    let time = clock::since(self.clock_zero);
                    if !self.control.send(FromCoordinator::BeatAck { number, time }) {
                        return Loss::because("does not read its control stream");
                    }
                }
                Ok(FromAgent::Leave { reason, drained }) => {
                    return Loss { is_drained: drained, has_left: true, ..Loss::because(reason) };
                }
                Ok(message) => controller.received(self.member, message).await,
                Err(malformed) => return Loss::because(format!("sent a malformed message: {malformed}")),
            }
        }
    }
}
