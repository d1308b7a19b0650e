//! The way that a session's messages take between agent and coordinator, as far as it decides what the agent accepts.

use std::net::SocketAddr;

use crate::peer_user;

/// Nothing is known of it by default: it is neither within this machine nor encrypted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Route {
    pub(crate) ends: Option<Ends>,
    /// In TLS, with a coordinator that was recognized.
    pub(crate) is_encrypted: bool,
}

/// The two addresses of a TCP connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

impl Route {
    /// Whether the coordinator is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.ends.is_some_and(|ends| ends.peer.ip().to_canonical().is_loopback())
    }

    /// Whether the coordinator's process belongs to this agent's user on this machine.
    pub(crate) fn is_same_user(&self) -> bool {
        self.is_loopback() && self.ends.is_some_and(|ends| peer_user::is_same_user(ends.peer, ends.local))
    }
}
