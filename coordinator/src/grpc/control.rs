//! One agent's Control stream: Hello and its answer, beats and the fence. Everything else goes to the conductor.

use std::time::Instant;

use muster_common::lease::Fence;
use muster_common::limits;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::visitor::Visit;
use crate::clock;
use crate::run::{Admission, Desk, Handover, Joining, Line, Loss, MemberId, Refusal};

/// One stream from its first message to its end.
pub(super) async fn serve(
    inbound: Streaming<v1::AgentControl>,
    visit: Visit,
    sender: mpsc::Sender<Result<v1::CoordinatorControl, Status>>,
    desk: Desk,
    handover: Handover,
) {
    match admit(inbound, &visit, Line::new(sender.clone()), &desk, handover).await {
        Ok(Some(session)) => {
            session.attend(desk).await;
            visit.leave();
        }
        Ok(None) => {}
        Err(status) => {
            // A stranger that does not even read needs no answer.
            let _ = sender.try_send(Err(status));
        }
    }
}

/// An agent that was let in.
struct ControlSession {
    member: MemberId,
    fence: Fence,
    inbound: Streaming<v1::AgentControl>,
    line: Line,
    ended: CancellationToken,
    clock_zero: Instant,
}

/// Reads Hello and answers it with Welcome or Reject. `None` when it was a Reject.
async fn admit(
    mut inbound: Streaming<v1::AgentControl>,
    visit: &Visit,
    line: Line,
    desk: &Desk,
    handover: Handover,
) -> Result<Option<ControlSession>, Status> {
    let hello = read_hello(&mut inbound).await?;
    let admission = match check_version(&hello) {
        Ok(()) => {
            // Asking the kernel whose process it is costs more with every socket of the machine.
            let is_private = handover.includes(hello.has_database) && visit.is_private().await;
            desk.join(Joining { hello, is_private, line: line.clone() }).await
        }
        Err(refusal) => Err(refusal),
    };
    match admission {
        // The conductor has said Welcome: said from here, it could come behind the Bye of a run that ends at this moment.
        Ok(Admission { member, ended, clock_zero }) => {
            visit.admit();
            let fence = Fence::new(clock::now());
            Ok(Some(ControlSession { member, fence, inbound, line, ended, clock_zero }))
        }
        Err(Refusal { reason, retry }) => {
            line.say(FromCoordinator::Reject { reason, retry });
            Ok(None)
        }
    }
}

async fn read_hello(inbound: &mut Streaming<v1::AgentControl>) -> Result<Hello, Status> {
    let first = timeout(limits::HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello"))??
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
        "this coordinator ({}) speaks protocol {}, the agent ({}) speaks {}; run the same version of both",
        env!("CARGO_PKG_VERSION"),
        limits::PROTOCOL_VERSION,
        hello.version,
        hello.protocol_version
    );
    Err(Refusal { reason, retry: false })
}

impl ControlSession {
    /// Serves the stream until the session ends. Every end is reported as a loss; the conductor knows which are none.
    async fn attend(mut self, desk: Desk) {
        let ended = self.ended.clone();
        let loss = tokio::select! {
            biased;
            () = ended.cancelled() => Loss::because("ended"),
            loss = self.listen(&desk) => Loss { lapses_at: Some(self.fence.falls_at()), ..loss },
        };
        desk.lost(self.member, loss).await;
    }

    /// Returns why nothing more can be heard.
    async fn listen(&mut self, desk: &Desk) -> Loss {
        loop {
            let message = tokio::select! {
                // What has come counts before the fence, however late this task runs.
                biased;
                message = self.inbound.message() => message,
                () = sleep_until(self.fence.falls_at().into()) => {
                    return Loss::because(format!("no beat for {:?}", limits::FENCE));
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
                    if !self.line.say(FromCoordinator::BeatAck { number, time }) {
                        return Loss::because("does not read its control stream");
                    }
                }
                Ok(FromAgent::Leave { reason, drained }) => {
                    return Loss { is_drained: drained, has_left: true, ..Loss::because(reason) };
                }
                Ok(message) => desk.said(self.member, message).await,
                Err(malformed) => return Loss::because(format!("sent a malformed message: {malformed}")),
            }
        }
    }
}
