//! `coordinator generate`: the demo's data and queries as files, of any size.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;

use super::Failure;
use super::args::GenerateArgs;
use crate::demo::generate::{self, Samples, Shape, Windows};
use crate::exit::Exit;

pub(super) fn run(args: GenerateArgs) -> Result<Exit, Failure> {
    match args {
        GenerateArgs::CpuUsage { file, hosts, step, span, seed } => {
            let shape = Shape { hosts, step, span, seed, ..Shape::default() };
            let samples = Samples::try_new(&shape).map_err(Failure::usage)?;
            write(&file, |out| generate::write_samples(samples, out))
        }
        GenerateArgs::QueryParams { file, rows, hosts, hosts_used, span, window, seed } => {
            let shape = Shape { hosts, span, ..Shape::default() };
            let windows = Windows { rows, hosts: hosts_used, window, seed };
            let windows = generate::windows(&shape, &windows).map_err(Failure::usage)?;
            write(&file, |out| generate::write_windows(windows, out))
        }
    }
}

/// To a file or, for `-`, to standard output. A broken pipe is no error.
fn write(path: &Path, rows: impl FnOnce(&mut dyn Write) -> io::Result<u64>) -> Result<Exit, Failure> {
    let written = if path.as_os_str() == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        rows(&mut out).and_then(|count| out.flush().map(|()| count))
    } else {
        File::create(path).and_then(|file| {
            let mut out = BufWriter::new(file);
            rows(&mut out).and_then(|count| out.flush().map(|()| count))
        })
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        Err(error) => {
            let failed = Err::<(), _>(error).with_context(|| format!("cannot write '{}'", path.display()));
            Err(Failure::write(failed.expect_err("it was built as an error")))
        }
        Ok(count) => {
            super::say(&format!("{count} rows written to {}", path.display()));
            Ok(Exit::Success)
        }
    }
}
