//! Findings about the server and its connections: a run may cover different servers, or different states of one server.

use muster_report::result::Cause;

use super::Finding;
use crate::run::servers::{Broken, Change};

pub(super) fn findings(changes: &[Change], broken: &Broken) -> Vec<Finding> {
    let degraded = |cause, reason| Finding { cause, is_void: false, reason };
    let changed =
        changes.iter().map(|Change { cause, what, remedy }| degraded(*cause, format!("{what}; {remedy}")));
    let reconnected = broken.reconnected().map(|what| {
        let remedy = "the run covers different states of the server; check the server's log, its timeouts for idle sessions \
                      and the network";
        degraded(Cause::Reconnected, format!("{what}: {remedy}"))
    });
    let disconnected = broken.still_broken().map(|what| {
        degraded(
            Cause::Disconnected,
            format!("{what}: the rest of their queries failed; check the server's log"),
        )
    });
    changed.chain(reconnected).chain(disconnected).collect()
}
