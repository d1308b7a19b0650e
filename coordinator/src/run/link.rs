//! What the gRPC edge and the conductor say to each other. The edge holds a [`Desk`]; the channels stay in here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_common::ids::{RowId, SessionId};
use muster_common::limits;
use muster_common::slots::Grant;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::keeper::KeeperHandle;
use crate::workload::{RowQueue, Workload};

/// What the edge tells the conductor.
pub(crate) enum Call {
    Join {
        joining: Joining,
        answer: oneshot::Sender<Result<Admission, Refusal>>,
    },
    Said {
        grant: Grant,
        message: FromAgent,
    },
    OpenWork {
        session: SessionId,
        answer: oneshot::Sender<Option<WorkPorts>>,
    },
    /// The rows that the first credits allow are on their way.
    Prefetched {
        grant: Grant,
    },
    /// The one path for every kind of loss.
    Lost {
        grant: Grant,
        reason: String,
    },
}

/// An agent at the door.
pub(crate) struct Joining {
    pub(crate) hello: Hello,
    /// Both ends are on this machine.
    pub(crate) is_loopback: bool,
    pub(crate) line: Line,
}

/// A granted session.
pub(crate) struct Admission {
    pub(crate) grant: Grant,
    /// Ends the session's tasks.
    pub(crate) ended: CancellationToken,
}

#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

/// What the Work stream of a session needs.
pub(crate) struct WorkPorts {
    pub(crate) grant: Grant,
    pub(crate) ended: CancellationToken,
    /// `None` until all agents are ready and the hosts are placed.
    pub(crate) share: watch::Receiver<Option<Arc<Share>>>,
}

/// One agent's part of the workload.
pub(crate) struct Share {
    pub(crate) workload: Arc<Workload>,
    pub(crate) keeper: KeeperHandle,
    /// By the agent's worker: its position in the placement's list of workers.
    pub(crate) positions: Vec<usize>,
    /// By the agent's worker: the rows it has not been sent.
    queues: Mutex<Vec<RowQueue>>,
}

impl Share {
    pub(crate) fn new(
        workload: Arc<Workload>,
        keeper: KeeperHandle,
        positions: Vec<usize>,
        queues: Vec<RowQueue>,
    ) -> Self {
        Self { workload, keeper, positions, queues: Mutex::new(queues) }
    }

    /// Takes the next row of a worker.
    pub(crate) fn pop(&self, worker: usize) -> Option<RowId> {
        self.lock().get_mut(worker)?.pop()
    }

    /// Nothing is left to be sent to this worker.
    pub(crate) fn is_empty(&self, worker: usize) -> bool {
        self.lock().get(worker).is_none_or(RowQueue::is_empty)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RowQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    pub(crate) async fn said(&self, grant: Grant, message: FromAgent) {
        self.call(Call::Said { grant, message }).await;
    }

    /// `None` for a session that holds no slot.
    pub(crate) async fn open_work(&self, session: SessionId) -> Option<WorkPorts> {
        let (answer, answered) = oneshot::channel();
        self.call(Call::OpenWork { session, answer }).await;
        answered.await.ok().flatten()
    }

    pub(crate) async fn prefetched(&self, grant: Grant) {
        self.call(Call::Prefetched { grant }).await;
    }

    pub(crate) async fn lost(&self, grant: Grant, reason: String) {
        self.call(Call::Lost { grant, reason }).await;
    }

    /// When the conductor is gone the run is over, and nobody needs to know.
    async fn call(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }
}
