//! The interface between the gRPC server and the controller. The server holds a [`ControllerHandle`]; the channels are private to this
//! module.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use muster_core::ids::Epoch;
use muster_core::limits;
use muster_core::session_token::GrantedSession;
use muster_core::slots::Grant;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::keeper::KeeperHandle;
use super::membership::{Loss, MemberId, Refusal};
use super::rows::Rows;
use crate::workload::{Workload, WorkloadError};

/// A call from the gRPC server to the controller.
pub(crate) enum Call {
    Join {
        joining: Joining,
        answer: oneshot::Sender<Result<Admission, Refusal>>,
    },
    /// A message arrived on the agent's Control stream.
    Received {
        member: MemberId,
        message: FromAgent,
    },
    OpenWork {
        session: GrantedSession,
        answer: oneshot::Sender<Option<WorkPorts>>,
    },
    /// The rows that the first credits allow have been sent.
    Prefetched {
        member: MemberId,
    },
    /// The time of a round is over, and this agent has reported everything that it ran in the round.
    RoundOver {
        member: MemberId,
        round: u32,
    },
    /// The workload file has changed or cannot be read. No agent is at fault.
    Unreadable {
        problem: WorkloadError,
    },
    /// A session has ended. Every kind of loss is reported this way.
    Lost {
        member: MemberId,
        loss: Loss,
    },
}

/// A request of an agent to join.
pub(crate) struct Joining {
    pub(crate) hello: Hello,
    /// The agent may receive the connection string of the coordinator's database.
    pub(crate) is_private: bool,
    pub(crate) control: ControlSender,
}

/// An admitted agent.
pub(crate) struct Admission {
    pub(crate) member: MemberId,
    /// Ends the session's tasks.
    pub(crate) ended: CancellationToken,
    /// The zero of the run clock that the coordinator sends to agents.
    pub(crate) clock_zero: Instant,
}

/// The endpoints that the Work stream of a session uses.
pub(crate) struct WorkPorts {
    pub(crate) member: MemberId,
    pub(crate) ended: CancellationToken,
    /// `None` until the session's part of the run begins.
    pub(crate) share: watch::Receiver<Option<Share>>,
}

/// One session's part of the run.
#[derive(Clone)]
pub(crate) struct Share {
    pub(crate) epoch: Epoch,
    /// Earlier sessions of the same process, proven by their tokens. The results of others are not accepted.
    pub(crate) former: Arc<[Grant]>,
    /// The positions of its workers in the placement's list of workers.
    pub(crate) workers: Range<usize>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) keeper: KeeperHandle,
    /// True if rows have due times.
    pub(crate) is_open_loop: bool,
    /// The maximum number of rows in flight for one worker, regardless of its credit.
    pub(crate) in_flight_max: usize,
}

/// Sends messages on an agent's Control stream. It never waits: if its queue is full, the peer is considered dead.
#[derive(Clone)]
pub(crate) struct ControlSender(mpsc::Sender<Result<v1::CoordinatorControl, Status>>);

impl ControlSender {
    pub(crate) fn new(sender: mpsc::Sender<Result<v1::CoordinatorControl, Status>>) -> Self {
        Self(sender)
    }

    /// Returns false if the peer does not read its stream or has disconnected.
    pub(crate) fn send(&self, message: FromCoordinator) -> bool {
        self.0.try_send(Ok(message.into())).is_ok()
    }
}

/// Sends calls to the controller.
#[derive(Clone)]
pub(crate) struct ControllerHandle {
    calls: mpsc::Sender<Call>,
}

impl ControllerHandle {
    pub(crate) fn open() -> (Self, mpsc::Receiver<Call>) {
        let (sender, calls) = mpsc::channel(16 * limits::SESSION_QUEUE_MAX);
        (Self { calls: sender }, calls)
    }

    pub(crate) async fn join(&self, joining: Joining) -> Result<Admission, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call::Join { joining, answer }).await.map_err(|_| Refusal::over())?;
        answered.await.map_err(|_| Refusal::over())?
    }

    pub(crate) async fn received(&self, member: MemberId, message: FromAgent) {
        self.call(Call::Received { member, message }).await;
    }

    /// Returns `None` for a session that holds no slot.
    pub(crate) async fn open_work(&self, session: GrantedSession) -> Option<WorkPorts> {
        let (answer, answered) = oneshot::channel();
        self.call(Call::OpenWork { session, answer }).await;
        answered.await.ok().flatten()
    }

    pub(crate) async fn prefetched(&self, member: MemberId) {
        self.call(Call::Prefetched { member }).await;
    }

    pub(crate) async fn round_over(&self, member: MemberId, round: u32) {
        self.call(Call::RoundOver { member, round }).await;
    }

    pub(crate) async fn unreadable(&self, problem: WorkloadError) {
        self.call(Call::Unreadable { problem }).await;
    }

    pub(crate) async fn lost(&self, member: MemberId, loss: Loss) {
        self.call(Call::Lost { member, loss }).await;
    }

    /// Ignores a closed channel: if the controller has ended, the run is over.
    async fn call(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }
}
