//! What the gRPC edge and the conductor say to each other. The edge holds a [`Desk`]; the channels stay in here.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use muster_common::ids::Epoch;
use muster_common::limits;
use muster_common::session_token::GrantedSession;
use muster_common::slots::Grant;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::keeper::KeeperHandle;
use super::record::Fact;
use super::rows::Rows;
use crate::workload::{Workload, WorkloadError};

/// What the edge tells the conductor.
pub(crate) enum Call {
    Join {
        joining: Joining,
        answer: oneshot::Sender<Result<Admission, Refusal>>,
    },
    Said {
        member: MemberId,
        message: FromAgent,
    },
    OpenWork {
        session: GrantedSession,
        answer: oneshot::Sender<Option<WorkPorts>>,
    },
    /// The rows that the first credits allow are on their way.
    Prefetched {
        member: MemberId,
    },
    /// The time of a round is over, and this agent has told everything that it ran in it.
    RoundOver {
        member: MemberId,
        round: u32,
    },
    /// The workload's file is not what it was, or cannot be read: nobody's fault but the run's.
    Unreadable {
        problem: WorkloadError,
    },
    /// The one path for every kind of loss.
    Lost {
        member: MemberId,
        loss: Loss,
    },
}

/// An agent's stay in this run, from Hello to its end; it may hold no slot, or get one late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u32);

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    /// It has told everything it ran; the rows that it still has were not run.
    pub(crate) is_drained: bool,
    /// The process was asked to stop and reported that.
    pub(crate) has_left: bool,
    /// Its agent stops by itself until then, whatever it knows; `None` when its last beat is not known.
    pub(crate) lapses_at: Option<Instant>,
}

impl Loss {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_drained: false, has_left: false, lapses_at: None }
    }

    pub(crate) fn fact(&self, epoch: Epoch) -> Fact {
        let (reason, drained, left) = (self.reason.clone(), self.is_drained, self.has_left);
        Fact::Lost { epoch: epoch.get(), reason, drained, left }
    }
}

/// An agent at the door.
pub(crate) struct Joining {
    pub(crate) hello: Hello,
    /// It may be handed the coordinator's database.
    pub(crate) is_private: bool,
    pub(crate) line: Line,
}

/// An agent that was let in.
pub(crate) struct Admission {
    pub(crate) member: MemberId,
    /// Ends the session's tasks.
    pub(crate) ended: CancellationToken,
    /// When the clock that agents are told of showed nothing.
    pub(crate) clock_zero: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

/// What the Work stream of a session needs.
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
    /// Its workers' positions in the placement's list.
    pub(crate) workers: Range<usize>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) keeper: KeeperHandle,
    /// Rows have due times.
    pub(crate) is_open_loop: bool,
    /// Rows of one worker, whatever its credit.
    pub(crate) in_flight_max: usize,
}

/// The coordinator's half of a Control stream. Never waits: a full line is a dead peer.
#[derive(Clone)]
pub(crate) struct Line(mpsc::Sender<Result<v1::CoordinatorControl, Status>>);

impl Line {
    pub(crate) fn new(sender: mpsc::Sender<Result<v1::CoordinatorControl, Status>>) -> Self {
        Self(sender)
    }

    /// False when the peer does not read or is gone.
    pub(crate) fn say(&self, message: FromCoordinator) -> bool {
        self.0.try_send(Ok(message.into())).is_ok()
    }
}

/// Where the edge reports.
#[derive(Clone)]
pub(crate) struct Desk {
    calls: mpsc::Sender<Call>,
}

impl Desk {
    pub(crate) fn open() -> (Self, mpsc::Receiver<Call>) {
        let (sender, calls) = mpsc::channel(16 * limits::SESSION_QUEUE_MAX);
        (Self { calls: sender }, calls)
    }

    pub(crate) async fn join(&self, joining: Joining) -> Result<Admission, Refusal> {
        let over = Refusal { reason: "the run is over".to_owned(), retry: true };
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call::Join { joining, answer }).await.map_err(|_| over.clone())?;
        answered.await.map_err(|_| over)?
    }

    pub(crate) async fn said(&self, member: MemberId, message: FromAgent) {
        self.call(Call::Said { member, message }).await;
    }

    /// `None` for a session that holds no slot.
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

    /// When the conductor is gone the run is over, and nobody needs to know.
    async fn call(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }
}
