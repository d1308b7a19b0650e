//! An agent in a control group of its own whose CPU is limited, as a container's is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::{Generator, health, reason};

/// Of one processor.
const QUOTA_US: &str = "20000";
const PERIOD_US: &str = "100000";

/// Gone with the test, once nothing is in it.
struct Group(PathBuf);

impl Group {
    /// `None` where no group with a CPU quota can be made; why is said.
    fn limited() -> Option<Self> {
        let name = format!("muster-test-{}", std::process::id());
        let is_v1 = Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists();
        let root = if is_v1 { "/sys/fs/cgroup/cpu" } else { "/sys/fs/cgroup" };
        let group = Path::new(root).join(name);
        let made = fs::create_dir(&group).and_then(|()| {
            // From here on it is removed again.
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
                println!("skipped: no control group with a CPU quota can be made below {root}: {problem}");
                None
            }
        }
    }

    fn take(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Everything that the agent needs its CPU for is its own: the fake answers at once, outside of the group.
async fn run_limited(more: &[&str]) -> Option<(Generator, Group)> {
    let group = Group::limited()?;
    let mut generator = Generator::gather(1, 24_000, "0us", more).await;
    let id = generator.join(&["--workers", "4"]).id();
    group.take(id);
    Some((generator, group))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_holds_an_agent_back_voids_the_run() {
    let Some((mut generator, _group)) = run_limited(&[]).await else { return };
    let report = generator.end(false).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    let reason = reason(&report, "agent_throttled");
    assert!(reason.starts_with("slot-0 was held back by its CPU limit (0.20 processors) in "), "{reason}");
    assert!(reason.contains("raise it, or add agents that have limits of their own"), "{reason}");
    assert_eq!(health(&report, 0, "cores"), 0.2);
    assert!(health(&report, 0, "throttled_share") > 0.1);
    generator.agents[0].end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_run_that_is_allowed_is_labelled_and_exits_0() {
    let Some((mut generator, _group)) = run_limited(&["--allow-void"]).await else { return };
    let report = generator.end(true).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    generator.agents[0].end().await.expect(0);
}
