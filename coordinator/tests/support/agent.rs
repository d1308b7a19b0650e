//! Where the agent is: another package's program, beside the coordinator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// Built and not older than its sources.
pub(crate) fn agent_binary() -> &'static Path {
    &AGENT
}

/// Cargo builds the agent for the agent's own tests only, so that `cargo test -p muster-coordinator` may find none, or the one of
/// last week. It is built here in that case and in no other, because a build takes seconds.
static AGENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_BIN_EXE_coordinator")).parent().expect("a file has a directory");
    let agent = directory.join("agent");
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a member of a workspace");
    let built = modified(&agent);
    let sources = ["agent", "common", "proto"].map(|package| newest(&workspace.join(package).join("src")));
    if built.is_none() || sources.into_iter().max().flatten() > built {
        let mut cargo = Command::new(env!("CARGO"));
        // The whole workspace decides on features, as it does in `cargo test --workspace`: nothing is compiled twice.
        cargo.args(["build", "--quiet", "--workspace", "--bin", "agent", "--target-dir"]);
        cargo.arg(directory.parent().expect("the profile's directory is below the target directory"));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        // Those of the test's own package would make build scripts run again, here and then in the next build.
        let is_own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars().filter(|(name, _)| is_own(name)) {
            cargo.env_remove(name);
        }
        assert!(cargo.current_dir(workspace).status().expect("cargo runs").success(), "build the agent");
    }
    agent
});

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).expect("a package has sources").flatten();
    let time = |path: PathBuf| if path.is_dir() { newest(&path) } else { modified(&path) };
    entries.map(|entry| time(entry.path())).max().flatten()
}
