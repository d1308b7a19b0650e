//! Reads and writes counts.txt: the expected counts, and the compiler that they are valid for.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

const HEADER: &str = "# Instructions a unit of each case, counted by `just counts --write`, and the compiler that made them.\n";

/// The compiler's version and target, which determine the instructions that it generates from the same source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compiler(String);

impl Compiler {
    pub(crate) fn here() -> anyhow::Result<Self> {
        let output = Command::new("rustc").arg("--version").output().context("run rustc")?;
        ensure!(output.status.success(), "`rustc --version` failed with {}", output.status);
        let version = String::from_utf8(output.stdout)?;
        Ok(Self(format!("{} for {}-{}", version.trim(), std::env::consts::ARCH, std::env::consts::OS)))
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) struct Committed {
    pub(crate) compiler: Compiler,
    counts: Vec<(String, f64)>,
}

impl Committed {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path()).context("read counts.txt")?;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = Compiler(lines.next().context("counts.txt does not name a compiler")?.to_owned());
        let count = |line: &str| -> anyhow::Result<(String, f64)> {
            let (name, count) =
                line.rsplit_once(' ').context("a line of counts.txt has no name and count")?;
            Ok((name.trim().to_owned(), count.parse()?))
        };
        Ok(Self { compiler, counts: lines.map(count).collect::<Result<_, _>>()? })
    }

    pub(crate) fn of(&self, name: &str) -> Option<f64> {
        self.counts.iter().find(|(counted, _)| counted == name).map(|(_, count)| *count)
    }

    pub(crate) fn write(compiler: Compiler, counts: &[(&str, f64)]) -> anyhow::Result<()> {
        let mut text = format!("{HEADER}{compiler}\n");
        for (name, count) in counts {
            writeln!(text, "{name:<24} {count:>10.1}")?;
        }
        print!("{text}");
        std::fs::write(path(), text).context("write counts.txt")
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}
