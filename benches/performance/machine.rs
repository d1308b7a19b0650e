//! The environment of the measurements: machine, compiler and database versions.

use std::fmt::Write;
use std::process::Command;

pub(crate) fn section() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let rows = [
        ("processors", format!("{processors} × {cpu}")),
        ("memory", memory),
        ("kernel", output_of("uname", &["-srm"])),
        ("compiler", output_of("rustc", &["--version"])),
        ("PostgreSQL", output_of("postgres", &["--version"])),
        ("pgbench", output_of("pgbench", &["--version"])),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        writeln!(text, "| {name} | {value} |").unwrap();
    }
    text
}

/// The value after `name:` in a file under /proc.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned())
}

/// The first line of a program's output. PostgreSQL's programs may be missing from the path, so Debian's directories are searched as well.
fn output_of(program: &str, words: &[&str]) -> String {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let beside = debian.map(|version| version.path().join("bin").join(program));
    let line = [program.into()].into_iter().chain(beside).find_map(|program| {
        let output = Command::new(program).args(words).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    });
    line.unwrap_or_else(|| "not found".to_owned())
}
