//! The paths of the built programs and of the workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// The workspace directory, which contains `data/` and `docs/`.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("the package is two levels below the workspace")
}

/// A directory below the target directory for files that tests need not remove.
pub fn temporary() -> PathBuf {
    directory().parent().expect("the profile's directory is below the target directory").join("tmp")
}

/// Cargo builds it before the coordinator's tests and benchmarks.
pub fn coordinator_binary() -> &'static Path {
    static COORDINATOR: LazyLock<PathBuf> = LazyLock::new(|| directory().join("coordinator"));
    &COORDINATOR
}

/// Returns the agent's path, after building it if it is missing or older than its sources.
pub fn agent_binary() -> &'static Path {
    static AGENT: LazyLock<PathBuf> = LazyLock::new(|| {
        let agent = directory().join("agent");
        let built = modified(&agent);
        let sources = ["agent", "common", "proto"].map(|package| newest_source(&workspace().join(package)));
        if built.is_none() || sources.into_iter().max().flatten() > built {
            build_agent();
        }
        agent
    });
    &AGENT
}

/// Cargo builds the agent only for the agent's own tests. With `cargo test -p muster-coordinator` it may be missing or out of date. It
/// is built here only in that case, because a build takes seconds.
fn build_agent() {
    let mut cargo = Command::new(env!("CARGO"));
    // Features are resolved for the whole workspace, as in `cargo test --workspace`, so that nothing is compiled twice.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "agent", "--target-dir"]);
    cargo.arg(directory().parent().expect("the profile's directory is below the target directory"));
    if directory().ends_with("release") {
        cargo.arg("--release");
    }
    // The variables of the test's own package would make build scripts run again, here and in the next build.
    let is_own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars().filter(|(name, _)| is_own(name)) {
        cargo.env_remove(name);
    }
    assert!(cargo.current_dir(workspace()).status().expect("cargo runs").success(), "build the agent");
}

/// The profile's directory: the running test or benchmark is in its subdirectory `deps`.
fn directory() -> &'static Path {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = env::current_exe().expect("the kernel knows the program's path");
        test.ancestors().nth(2).expect("the program is in `deps`").to_owned()
    });
    &DIRECTORY
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

/// The latest change of a package's sources, or of those of the packages in this directory.
fn newest_source(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let time = |path: PathBuf| match path.extension() {
        Some(extension) if extension == "rs" => modified(&path),
        None if !path.ends_with("tests") => newest_source(&path),
        _ => None,
    };
    entries.filter_map(time).max()
}
