//! How many files this process may have open, connections among them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the system allows without asking: most systems begin with 1,024 for the sake of programs that use select(2), and a
/// coordinator has a connection for each agent, an agent three for each worker: its connection twice, and the counters of
/// its thread.
pub fn allow_many() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the connections beyond it say what is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
