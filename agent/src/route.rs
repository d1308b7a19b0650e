//! The properties of the connection to the coordinator that decide what the agent accepts from it.

use std::net::SocketAddr;

use muster_net::peer_user;

/// By default the connection is neither local nor encrypted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Route {
    pub(crate) ends: Option<Ends>,
    /// The connection uses TLS, and the coordinator's certificate was verified.
    pub(crate) is_encrypted: bool,
}

/// The two addresses of a TCP connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

impl Route {
    /// Returns true if the coordinator is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.ends.is_some_and(|ends| ends.peer.ip().to_canonical().is_loopback())
    }

    /// Returns true if the coordinator's process runs on this machine as this agent's user.
    pub(crate) fn is_same_user(&self) -> bool {
        self.is_loopback() && self.ends.is_some_and(|ends| peer_user::is_same_user(ends.peer, ends.local))
    }
}
