//! What belongs to the connections of the members: channels, tokens and what the agents sent. Which member may do what is decided by the
//! membership.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::session_token::GrantedSession;
use muster_core::slots::Grant;
use muster_proto::control::{FromCoordinator, Hello, Ready};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::run::link::{ControlSender, Joining, Share, WorkPorts};
use crate::run::membership::MemberId;

/// The connections of all members that are not forgotten.
#[derive(Default)]
pub(super) struct Connections(BTreeMap<MemberId, Connection>);

pub(super) struct Connection {
    pub(super) hello: Hello,
    /// The agent may receive the connection string of the coordinator's database.
    pub(super) is_private: bool,
    /// What the agent found when it last prepared.
    pub(super) ready: Option<Ready>,
    control: ControlSender,
    /// Cancelled when the session's tasks must end.
    ended: CancellationToken,
    share: watch::Sender<Option<Share>>,
    has_work: bool,
}

impl Connection {
    /// The agent's machine and process id, such as `db1/4711`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.hello.machine, self.hello.process_id)
    }

    /// Its earlier sessions whose results it still holds.
    pub(super) fn former(&self) -> Arc<[Grant]> {
        self.hello.former.iter().map(grant_of).collect()
    }

    pub(super) fn share(&self, share: Share) {
        self.share.send_replace(Some(share));
    }

    pub(super) fn has_share(&self) -> bool {
        self.share.borrow().is_some()
    }

    fn end(&self) {
        self.ended.cancel();
        self.share.send_replace(None);
    }
}

pub(super) fn grant_of(session: &GrantedSession) -> Grant {
    Grant { slot: session.id.slot, epoch: session.id.epoch }
}

impl Connections {
    /// Adds a member. Returns the token that ends its tasks.
    pub(super) fn add(&mut self, id: MemberId, joining: Joining) -> CancellationToken {
        let Joining { hello, is_private, control } = joining;
        let ended = CancellationToken::new();
        let (share, token) = (watch::channel(None).0, ended.clone());
        self.0.insert(
            id,
            Connection { hello, is_private, ready: None, control, ended, share, has_work: false },
        );
        token
    }

    pub(super) fn get(&self, id: MemberId) -> Option<&Connection> {
        self.0.get(&id)
    }

    /// A message that does not fit into the queue is lost: the queue belongs to a dead peer, whose fence falls soon.
    pub(super) fn send(&self, id: MemberId, message: FromCoordinator) {
        if let Some(connection) = self.0.get(&id) {
            connection.control.send(message);
        }
    }

    pub(super) fn prepared(&mut self, id: MemberId, ready: Ready) {
        if let Some(connection) = self.0.get_mut(&id) {
            connection.ready = Some(ready);
        }
    }

    /// Returns the ports of a member's Work stream. Succeeds once per member, because a second stream would get the same rows.
    pub(super) fn open_work(&mut self, member: MemberId) -> Option<WorkPorts> {
        let connection = self.0.get_mut(&member).filter(|connection| !connection.has_work)?;
        connection.has_work = true;
        let (ended, share) = (connection.ended.clone(), connection.share.subscribe());
        Some(WorkPorts { member, ended, share })
    }

    /// Ends the tasks of a session and takes back its share.
    pub(super) fn end(&mut self, id: MemberId, is_forgotten: bool) {
        if let Some(connection) = self.0.get(&id) {
            connection.end();
        }
        if is_forgotten {
            self.0.remove(&id);
        }
    }

    /// Ends the tasks of every session. The keeper closes when no session can settle rows any more.
    pub(super) fn end_all(&self) {
        self.0.values().for_each(Connection::end);
    }
}
