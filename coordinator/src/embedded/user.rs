//! The operating system user that runs the server's programs. PostgreSQL refuses to run as root, so root runs them as `postgres`, else as
//! `nobody`; any other user runs them directly. File access is tested by trying it as that user, not computed from mode bits.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::EmbeddedError;

/// For programs that finish at once, such as `postgres --version` and `test`. A longer time indicates, for example, a dead network mount.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunAs {
    CurrentUser,
    Other(User),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl RunAs {
    pub(super) async fn of_this_process() -> Result<Self, EmbeddedError> {
        // The standard library has no safe function that returns the user id. POSIX requires the `id` program.
        let id = Self::CurrentUser.output_of(Path::new("id"), [OsStr::new("-u")]).await;
        if id.is_ok_and(|id| id == "0") {
            let passwd = std::fs::read_to_string("/etc/passwd");
            let user = passwd.ok().and_then(|text| unprivileged(&text));
            Ok(Self::Other(user.ok_or(EmbeddedError::NoUser)?))
        } else {
            Ok(Self::CurrentUser)
        }
    }

    /// Creates a command that runs as that user, in `/`, with a minimal environment, so that the caller's `PG*` variables and locale do not
    /// affect the server. TZ is set because initdb otherwise searches all time zones.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.current_dir("/").stdin(Stdio::null());
        if let Self::Other(user) = self {
            // When a uid is set, the standard library also drops root's supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs a program and returns its trimmed standard output. The error is a reason for an error message.
    pub(super) async fn output_of(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = &OsStr>,
    ) -> Result<String, String> {
        let mut command = self.command(program);
        command.args(args);
        let run = tokio::process::Command::from(command).kill_on_drop(true).output();
        let output = match tokio::time::timeout(OUTPUT_TIMEOUT, run).await {
            Err(_) => return Err(format!("did not finish within {OUTPUT_TIMEOUT:?}")),
            Ok(Err(error)) => return Err(format!("cannot be run{}: {error}", self.by_user())),
            Ok(Ok(output)) => output,
        };
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last = stderr.lines().last().unwrap_or_default();
            Err(format!("{}: {last}", output.status))
        }
    }

    pub(super) async fn can_enter(&self, directory: &Path) -> bool {
        self.test(r#"[ -d "$1" ] && [ -x "$1" ]"#, directory).await
    }

    pub(super) async fn can_create_in(&self, directory: &Path) -> bool {
        self.test(r#"[ -d "$1" ] && [ -x "$1" ] && [ -w "$1" ]"#, directory).await
    }

    /// Returns ` by user 'postgres'`, or an empty string if the programs run as the current user.
    pub(super) fn by_user(&self) -> String {
        match self {
            Self::CurrentUser => String::new(),
            Self::Other(user) => format!(" by user '{}'", user.name),
        }
    }

    async fn test(&self, script: &str, directory: &Path) -> bool {
        let args = ["-c", script, "sh"].map(OsStr::new);
        let args = args.into_iter().chain([directory.as_os_str()]);
        self.output_of(Path::new("/bin/sh"), args).await.is_ok()
    }
}

/// The user `postgres` or else `nobody`, if it is not root.
fn unprivileged(passwd: &str) -> Option<User> {
    ["postgres", "nobody"].iter().find_map(|name| passwd.lines().find_map(|line| entry(line, name)))
}

/// Parses a line `name:password:uid:gid:…`. macOS writes the ids of `nobody` as -2, which the kernel reads as 2^32 − 2.
fn entry(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    if fields.next() != Some(name) {
        return None;
    }
    let mut id = {
        fields.next()?;
        || -> Option<u32> {
            let text = fields.next()?;
            text.parse().ok().or_else(|| {
                let signed: i32 = text.parse().ok()?;
                Some(u32::from_ne_bytes(signed.to_ne_bytes()))
            })
        }
    };
    let (uid, gid) = (id()?, id()?);
    (uid != 0).then(|| User { name: name.to_owned(), uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passwd: &str, expected: Option<(&str, u32, u32)>) {
        let found = unprivileged(passwd);
        let found = found.as_ref().map(|u| (u.name.as_str(), u.uid, u.gid));
        assert_eq!(found, expected, "{passwd:?}");
    }

    #[test]
    fn root_runs_the_server_as_postgres_or_nobody_and_never_with_uid_0() {
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        let nobody = "nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";
        let postgres = "postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        check(&[root, nobody, postgres].concat(), Some(("postgres", 101, 104)));
        check(&[root, nobody].concat(), Some(("nobody", 65534, 65533)));
        check(root, None);
        check("postgres:x:0:0::/:/bin/sh\n", None);
        check(
            "nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n",
            Some(("nobody", u32::MAX - 1, u32::MAX - 1)),
        );
        check("postgres:x\nnobody:x:y:z\n", None);
    }

    #[tokio::test]
    async fn a_command_inherits_no_postgresql_variables() {
        let env = RunAs::CurrentUser.output_of(Path::new("env"), []).await.unwrap();
        let names: Vec<&str> = env.lines().filter_map(|l| l.split('=').next()).collect();
        assert!(names.contains(&"PATH") && names.contains(&"TZ"), "{names:?}");
        assert!(names.iter().all(|n| !n.starts_with("PG") && *n != "HOME"), "{names:?}");
    }

    #[tokio::test]
    async fn an_error_states_why_a_program_failed() {
        let reason = RunAs::CurrentUser.output_of(Path::new("/no/such/program"), []).await;
        assert!(reason.unwrap_err().starts_with("cannot be run: No such file"));
        let failed = RunAs::CurrentUser
            .output_of(Path::new("/bin/sh"), ["-c", "echo why >&2; exit 3"].map(OsStr::new))
            .await;
        assert_eq!(failed.unwrap_err(), "exit status: 3: why");
    }
}
