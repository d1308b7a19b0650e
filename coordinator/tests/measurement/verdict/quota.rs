//! An agent in its own control group with a CPU limit, as in a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::verdict::fixture::{Generator, health, reason};

/// A fifth of one processor.
const QUOTA_US: &str = "20000";
const PERIOD_US: &str = "100000";

/// A control group that is removed with the test, after its processes have ended.
struct Group(PathBuf);

impl Group {
    /// Creates a group. Where no group with a CPU quota can be created, prints the reason and returns `None`.
    fn limited() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("muster-test-{}-{number}", std::process::id());
        let is_v1 = Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists();
        let root = if is_v1 { "/sys/fs/cgroup/cpu" } else { "/sys/fs/cgroup" };
        let group = Path::new(root).join(name);
        let made = fs::create_dir(&group).and_then(|()| {
            // From here on the group is removed when it is dropped.
            let group = Self(group.clone());
            if is_v1 {
                fs::write(group.0.join("cpu.cfs_period_us"), PERIOD_US)?;
                fs::write(group.0.join("cpu.cfs_quota_us"), QUOTA_US)?;
            } else {
                fs::write(group.0.join("cpu.max"), format!("{QUOTA_US} {PERIOD_US}"))?;
            }
            Ok(group)
        });
        match made {
            Ok(group) => Some(group),
            Err(problem) => {
                println!("skipped: no control group with a CPU quota can be created below {root}: {problem}");
                None
            }
        }
    }

    fn add(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The limit applies to the agent alone: the fake server runs outside of the group and answers immediately.
async fn run_limited(more: &[&str]) -> Option<(Generator, Group)> {
    let group = Group::limited()?;
    let mut generator = Generator::start(1, 24_000, "0us", more).await;
    let id = generator.join(&["--workers", "4"]).id();
    group.add(id);
    Some((generator, group))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_throttles_an_agent_voids_the_run() {
    let Some((mut generator, _group)) = run_limited(&[]).await else { return };
    let report = generator.end(false).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    let reason = reason(&report, "agent_throttled");
    assert!(reason.starts_with("slot-0 was throttled by its CPU limit (0.20 processors) for "), "{reason}");
    assert!(reason.contains("raise it, or add agents with separate limits"), "{reason}");
    assert_eq!(health(&report, 0, "cores"), 0.2);
    assert!(health(&report, 0, "throttled_share") > 0.1);
    generator.agents[0].end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_void_run_is_labelled_and_exits_0() {
    let Some((mut generator, _group)) = run_limited(&["--allow-void"]).await else { return };
    let report = generator.end(true).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    generator.agents[0].end().await.expect(0);
}
