//! Whom the server's programs run as: PostgreSQL refuses root, so root hands them to `postgres`, else to `nobody`; anybody
//! else runs them himself. What that user can reach is asked of the kernel by trying, never worked out from mode bits.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::EmbeddedError;

/// For programs that answer at once (`postgres --version`, `test`); longer means a dead network mount or the like.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunAs {
    Myself,
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
        // No safe call of the standard library gives the user id; POSIX has this program on every machine.
        let id = Self::Myself.answer(Path::new("id"), [OsStr::new("-u")]).await;
        if id.is_ok_and(|id| id == "0") {
            let passwd = std::fs::read_to_string("/etc/passwd");
            let user = passwd.ok().and_then(|text| unprivileged(&text));
            Ok(Self::Other(user.ok_or(EmbeddedError::NoUser)?))
        } else {
            Ok(Self::Myself)
        }
    }

    /// A command as that user, in `/`, with an environment of its own: neither `PG*` variables nor a locale of the
    /// caller's shape the server. TZ spares initdb a search through all time zones.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.current_dir("/").stdin(Stdio::null());
        if let Self::Other(user) = self {
            // With a uid given, the standard library drops root's supplementary groups as well.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// What a program prints, trimmed; the error is a reason for a person.
    pub(super) async fn answer(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = &OsStr>,
    ) -> Result<String, String> {
        let mut command = self.command(program);
        command.args(args);
        let run = tokio::process::Command::from(command).kill_on_drop(true).output();
        let output = match tokio::time::timeout(ANSWER_TIMEOUT, run).await {
            Err(_) => return Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
            Ok(Err(error)) => return Err(format!("cannot be run{}: {error}", self.by_whom())),
            Ok(Ok(output)) => output,
        };
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("{}: {last}", output.status))
        }
    }

    pub(super) async fn can_enter(&self, directory: &Path) -> bool {
        self.test(r#"[ -d "$1" ] && [ -x "$1" ]"#, directory).await
    }

    pub(super) async fn can_create_in(&self, directory: &Path) -> bool {
        self.test(r#"[ -d "$1" ] && [ -x "$1" ] && [ -w "$1" ]"#, directory).await
    }

    /// ` by user 'postgres'`, or nothing when it is the caller himself.
    pub(super) fn by_whom(&self) -> String {
        match self {
            Self::Myself => String::new(),
            Self::Other(user) => format!(" by user '{}'", user.name),
        }
    }

    async fn test(&self, script: &str, directory: &Path) -> bool {
        let args = ["-c", script, "sh"].map(OsStr::new);
        let args = args.into_iter().chain([directory.as_os_str()]);
        self.answer(Path::new("/bin/sh"), args).await.is_ok()
    }
}

fn unprivileged(passwd: &str) -> Option<User> {
    ["postgres", "nobody"].iter().find_map(|name| passwd.lines().find_map(|line| entry(line, name)))
}

/// `name:password:uid:gid:…`; macOS writes nobody's ids as -2, which the kernel takes as 2^32 − 2.
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
    fn root_becomes_postgres_or_else_nobody_and_never_another_root() {
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
    async fn a_command_takes_no_postgresql_variables_along() {
        let env = RunAs::Myself.answer(Path::new("env"), []).await.unwrap();
        let names: Vec<&str> = env.lines().filter_map(|l| l.split('=').next()).collect();
        assert!(names.contains(&"PATH") && names.contains(&"TZ"), "{names:?}");
        assert!(names.iter().all(|n| !n.starts_with("PG") && *n != "HOME"), "{names:?}");
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_run_gives_a_reason() {
        let reason = RunAs::Myself.answer(Path::new("/no/such/program"), []).await;
        assert!(reason.unwrap_err().starts_with("cannot be run: No such file"));
        let failed =
            RunAs::Myself.answer(Path::new("/bin/sh"), ["-c", "echo why >&2; exit 3"].map(OsStr::new)).await;
        assert_eq!(failed.unwrap_err(), "exit status: 3: why");
    }
}
