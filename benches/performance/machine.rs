//! What the figures were taken on: as the machine, the compiler and the database tell it themselves.

use std::fmt::Write;
use std::process::Command;

pub(crate) fn section() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let rows = [
        ("processors", format!("{processors} × {cpu}")),
        ("memory", memory),
        ("kernel", said_by("uname", &["-srm"])),
        ("compiler", said_by("rustc", &["--version"])),
        ("PostgreSQL", said_by("postgres", &["--version"])),
        ("pgbench", said_by("pgbench", &["--version"])),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, told) in rows {
        writeln!(text, "| {name} | {told} |").unwrap();
    }
    text
}

/// What stands behind `name:` in a file of the kernel's.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned())
}

/// The first line of what a program says of itself. The database's own programs are not always in the path.
fn said_by(program: &str, words: &[&str]) -> String {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let beside = debian.map(|version| version.path().join("bin").join(program));
    let said = [program.into()].into_iter().chain(beside).find_map(|program| {
        let output = Command::new(program).args(words).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    });
    said.unwrap_or_else(|| "not here".to_owned())
}
