//! The first message of an agent, for tests that send protocol messages themselves.

use muster_core::limits;
use muster_proto::control::Hello;

/// An agent with one worker, its own database and no earlier session. Tests change the fields that they need.
pub fn hello() -> Hello {
    Hello {
        protocol_version: limits::PROTOCOL_VERSION,
        version: "9.9.9".to_owned(),
        machine: "elsewhere".to_owned(),
        process_id: 1,
        workers: 1,
        slot: None,
        has_database: true,
        ended: None,
        can_report_stats: false,
        instance: 1,
        ran: None,
        former: Vec::new(),
    }
}
