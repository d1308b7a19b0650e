//! The first message of an agent, for tests that write the protocol themselves.

use muster_common::limits;
use muster_proto::control::Hello;

/// An agent with one worker, a database of its own and no earlier session. Tests change what they need.
pub(crate) fn hello() -> Hello {
    Hello {
        protocol_version: limits::PROTOCOL_VERSION,
        version: "9.9.9".to_owned(),
        machine: "elsewhere".to_owned(),
        process_id: 1,
        workers: 1,
        slot: None,
        has_database: true,
        ended: None,
        can_look: false,
        instance: 1,
        ran: None,
        former: Vec::new(),
    }
}
