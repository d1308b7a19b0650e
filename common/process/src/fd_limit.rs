//! The limit on open file descriptors of this process, which include connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Most systems start processes with a soft limit of 1,024, for programs that use select(2). A
/// coordinator needs one descriptor for each agent. An agent needs three for each worker: two for its connection and one for its thread's
/// scheduler counters.
pub fn raise_fd_limit() {
    let limit = getrlimit(Resource::Nofile);
    // An error is ignored: a connection that exceeds the limit reports the cause.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
