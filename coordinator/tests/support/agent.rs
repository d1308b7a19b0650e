//! The path of the agent, which is another package's program in the coordinator's directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// Returns the agent's path, after building it if it is missing or older than its sources.
pub(crate) fn agent_binary() -> &'static Path {
    &AGENT
}

/// Cargo builds the agent only for the agent's own tests. With `cargo test -p muster-coordinator` it may be missing or out of date. It
/// is built here only in that case, because a build takes seconds.
static AGENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_BIN_EXE_coordinator")).parent().expect("a file has a directory");
    let agent = directory.join("agent");
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a member of a workspace");
    let built = modified(&agent);
    let sources = ["agent", "common", "proto"].map(|package| newest(&workspace.join(package).join("src")));
    if built.is_none() || sources.into_iter().max().flatten() > built {
        let mut cargo = Command::new(env!("CARGO"));
        // Features are resolved for the whole workspace, as in `cargo test --workspace`, so that nothing is compiled twice.
        cargo.args(["build", "--quiet", "--workspace", "--bin", "agent", "--target-dir"]);
        cargo.arg(directory.parent().expect("the profile's directory is below the target directory"));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        // The variables of the test's own package would make build scripts run again, here and in the next build.
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
