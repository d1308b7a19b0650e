//! Connections that broke while rows ran that count.

use muster_report::result;

use muster_report::units::{counted, duration};

use crate::run::record::{Disconnected, Record};

/// Connections that broke during the rows that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Broken {
    /// The number of connections that were reopened.
    pub(crate) reconnects: u64,
    /// The longest time for which one of these was broken.
    pub(crate) outage_max_ns: u64,
    /// The number of connections that were still broken at the end.
    pub(crate) disconnected: u64,
    /// The longest time for which one of these was broken.
    pub(crate) disconnected_max_ns: u64,
}

/// Broken connections of the sessions that ran rows.
pub(crate) fn broken(record: &Record) -> Broken {
    let mut broken = Broken::default();
    for session in record.sessions.iter().filter(|session| session.offset_ns.is_some()) {
        for reconnects in &session.reconnects {
            broken.reconnects = broken.reconnects.saturating_add(reconnects.count);
            broken.outage_max_ns = broken.outage_max_ns.max(reconnects.outage_max_ns);
        }
        let Disconnected { count, outage_max_ns } = session.disconnected;
        broken.disconnected = broken.disconnected.saturating_add(count);
        broken.disconnected_max_ns = broken.disconnected_max_ns.max(outage_max_ns);
    }
    broken
}

/// Returns true if every connection that ran rows was open from the start to the end.
pub(crate) fn was_connected(record: &Record) -> bool {
    let mut ran = record.sessions.iter().filter(|session| session.offset_ns.is_some());
    ran.all(|session| session.reconnects.is_empty() && session.disconnected.count == 0)
}

impl Broken {
    pub(crate) fn to_result(self) -> result::Reconnects {
        result::Reconnects {
            count: self.reconnects,
            outage_max_ms: (self.reconnects > 0).then(|| milliseconds(self.outage_max_ns)),
            disconnected: self.disconnected,
        }
    }

    /// A sentence such as `3 broken connections to the database were opened again; the longest outage took 3.10 s`. `None` if there are
    /// none.
    pub(crate) fn reconnected(&self) -> Option<String> {
        let count = counted(self.reconnects, "broken connection");
        let were = if self.reconnects == 1 { "was" } else { "were" };
        let outage = duration(milliseconds(self.outage_max_ns));
        (self.reconnects > 0)
            .then(|| format!("{count} to the database {were} opened again; the longest outage took {outage}"))
    }

    /// The same for connections that were not reopened.
    pub(crate) fn still_broken(&self) -> Option<String> {
        let count = counted(self.disconnected, "connection");
        let were = if self.disconnected == 1 { "was" } else { "were" };
        let outage = duration(milliseconds(self.disconnected_max_ns));
        (self.disconnected > 0).then(|| {
            format!("{count} to the database {were} broken at the end of the run, the longest for {outage}")
        })
    }
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
