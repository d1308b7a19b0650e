//! Reasons about the server and its connections: parts of the run may have met different servers, or different states of one server.

use muster_common::result::Cause;

use super::Finding;
use crate::run::servers::{Broken, Change};

pub(super) fn findings(changes: &[Change], broken: &Broken) -> Vec<Finding> {
    let degraded = |cause, reason| Finding { cause, is_void: false, reason };
    let changed =
        changes.iter().map(|Change { cause, what, remedy }| degraded(*cause, format!("{what}; {remedy}")));
    let reconnected = broken.reconnected().map(|what| {
        let remedy = "the parts of the run met different states of the server; the server's log, its timeouts for idle sessions and \
                      the network may say why";
        degraded(Cause::Reconnected, format!("{what}: {remedy}"))
    });
    let disconnected = broken.gone().map(|what| {
        degraded(
            Cause::Disconnected,
            format!("{what}: the rest of their queries failed; the server's log may say why"),
        )
    });
    changed.chain(reconnected).chain(disconnected).collect()
}
