//! CPU quotas of control groups, versions 1 and 2: finds the directories that apply to this process, and parses their files. It reads no
//! files: `system` passes their contents. Every group from the process's own up to the root may have a quota, and the lowest one applies.

use std::path::{Path, PathBuf};

/// The directories with the quotas of this process, its own group first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) version: Version,
    pub(super) directories: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Finds the groups in the contents of `/proc/self/cgroup` and `/proc/self/mountinfo`. Returns `None` if no hierarchy with a CPU
/// controller is mounted.
///
/// On a machine with both versions, the controller is in one of them: in version 1 if one of its hierarchies has `cpu`.
pub(super) fn groups(cgroup: &str, mountinfo: &str) -> Option<Groups> {
    groups_v1(cgroup, mountinfo).or_else(|| groups_v2(cgroup, mountinfo))
}

fn groups_v1(cgroup: &str, mountinfo: &str) -> Option<Groups> {
    let path = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|controller| controller == "cpu").then_some(path)
    })?;
    let is_cpu =
        |mount: &Mount<'_>| mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "cpu");
    directories(path, mountinfo, is_cpu).map(|directories| Groups { version: Version::V1, directories })
}

fn groups_v2(cgroup: &str, mountinfo: &str) -> Option<Groups> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directories = directories(path, mountinfo, |mount| mount.kind == "cgroup2")?;
    Some(Groups { version: Version::V2, directories })
}

struct Mount<'a> {
    /// The part of the hierarchy that is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// Returns the directory of the group and its parents up to the mount point.
fn directories(path: &str, mountinfo: &str, matches: impl Fn(&Mount<'_>) -> bool) -> Option<Vec<PathBuf>> {
    let mount = mountinfo.lines().filter_map(mount).find(matches)?;
    // In a container without a cgroup namespace, the path is the host's, and only the container's part of the hierarchy is mounted.
    let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let point = PathBuf::from(unescaped(mount.point));
    let own = point.join(below.strip_prefix("/").unwrap_or(below));
    Some(own.ancestors().take_while(|directory| directory.starts_with(&point)).map(Path::to_owned).collect())
}

/// Parses a line such as `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw`. Some fields before the dash are optional.
fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1).unwrap_or_default());
    Some(Mount { root, point, kind, options })
}

/// Decodes escapes such as `\040` for a space.
fn unescaped(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Parses `cpu.max`, which is `max 100000` or `50000 100000`. Returns the quota in thousandths of a core, or `None` without a quota.
pub(super) fn quota_v2(max: &str) -> Option<u64> {
    let (quota, period) = max.trim().split_once(' ')?;
    cores_milli(quota.parse().ok()?, period.trim().parse().ok()?)
}

/// Parses `cpu.cfs_quota_us`, which is -1 without a quota, and `cpu.cfs_period_us`. Returns the quota in thousandths of a core.
pub(super) fn quota_v1(quota: &str, period: &str) -> Option<u64> {
    cores_milli(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

fn cores_milli(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1_000)?.checked_div(period_us)
}

/// Parses `cpu.stat` and returns for how long the group has been throttled since its creation. The file has nanoseconds in version 1 and
/// microseconds in version 2.
pub(super) fn throttled_ns(version: Version, stat: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    match version {
        Version::V1 => value("throttled_time"),
        Version::V2 => value("throttled_usec")?.checked_mul(1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cgroup: &str, mountinfo: &str, expected: Option<(Version, &[&str])>) {
        let expected = expected.map(|(version, directories)| Groups {
            version,
            directories: directories.iter().map(PathBuf::from).collect(),
        });
        assert_eq!(groups(cgroup, mountinfo), expected);
    }

    /// From a service on Debian 12.
    #[test]
    fn version_2_has_one_hierarchy_and_every_level_is_found() {
        check(
            "0::/system.slice/agent.service\n",
            "31 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            Some((
                Version::V2,
                &[
                    "/sys/fs/cgroup/system.slice/agent.service",
                    "/sys/fs/cgroup/system.slice",
                    "/sys/fs/cgroup",
                ],
            )),
        );
    }

    /// From a container with its own cgroup namespace: Docker on a host with version 2.
    #[test]
    fn in_a_container_its_own_group_is_the_root() {
        check(
            "0::/\n",
            "1033 1028 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n",
            Some((Version::V2, &["/sys/fs/cgroup"])),
        );
    }

    /// From a container on a host with version 1: the path is the host's, and only the container's part is mounted.
    #[test]
    fn version_1_is_found_by_its_controller_below_the_mount_point() {
        let cgroup = "\
12:cpuset:/docker/4f1c
4:cpu,cpuacct:/docker/4f1c
1:name=systemd:/docker/4f1c
0::/system.slice/containerd.service
";
        let mountinfo = "\
661 660 0:30 /docker/4f1c /sys/fs/cgroup/systemd ro,nosuid master:11 - cgroup cgroup rw,xattr,name=systemd
664 660 0:33 /docker/4f1c /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev master:15 - cgroup cgroup rw,cpu,cpuacct
665 660 0:34 /docker/4f1c /sys/fs/cgroup/cpuset ro,nosuid master:16 - cgroup cgroup rw,cpuset
";
        check(cgroup, mountinfo, Some((Version::V1, &["/sys/fs/cgroup/cpu,cpuacct"])));
    }

    /// From a virtual machine in a cloud: both versions are mounted, and `cpu` is in version 1.
    #[test]
    fn with_both_versions_the_one_with_the_cpu_controller_is_used() {
        let cgroup = "9:name=systemd:/\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/batch/job 7\n0::/\n";
        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        check(
            cgroup,
            mountinfo,
            Some((
                Version::V1,
                &["/sys/fs/cgroup/cpu/batch/job 7", "/sys/fs/cgroup/cpu/batch", "/sys/fs/cgroup/cpu"],
            )),
        );
    }

    #[test]
    fn without_a_mounted_cpu_controller_there_are_no_groups() {
        check("", "", None);
        check("0::/\n", "22 1 0:21 / / rw - ext4 /dev/vda rw\n", None);
        check("1:cpu:/\n", "32 31 0:29 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n", None);
        check("broken\n1:\n", "broken\n- - -\n", None);
    }

    #[test]
    fn a_mount_point_may_contain_a_space() {
        check(
            "0::/\n",
            "31 23 0:27 / /mnt/my\\040groups rw - cgroup2 c rw\n",
            Some((Version::V2, &["/mnt/my groups"])),
        );
    }

    #[test]
    fn quotas_are_converted_to_thousandths_of_a_core() {
        assert_eq!(quota_v2("max 100000\n"), None);
        assert_eq!(quota_v2("25000 100000\n"), Some(250));
        assert_eq!(quota_v2("150000 100000\n"), Some(1_500));
        for broken in ["", "max", "1 0", "-1 100000", "x 100000"] {
            assert_eq!(quota_v2(broken), None, "{broken}");
        }
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("20000\n", "100000\n"), Some(200));
        assert_eq!(quota_v1("", ""), None);
    }

    #[test]
    fn the_throttled_time_has_a_different_name_and_unit_in_each_version() {
        let v1 = "nr_periods 52\nnr_throttled 20\nthrottled_time 2145370137\nnr_bursts 0\nburst_time 0\n";
        let v2 = "usage_usec 5012\nuser_usec 4000\nsystem_usec 1012\nnr_periods 52\nnr_throttled 20\nthrottled_usec 2145370\n";
        assert_eq!(throttled_ns(Version::V1, v1), Some(2_145_370_137));
        assert_eq!(throttled_ns(Version::V2, v2), Some(2_145_370_000));
        // The root group of version 2 has no quota and no throttling counters.
        assert_eq!(throttled_ns(Version::V2, "usage_usec 5012\nuser_usec 4000\nsystem_usec 1012\n"), None);
    }
}
