//! `coordinator generate`: writes the demo's data and query parameters to files of any size.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::values::duration;
use crate::demo::generate::{self, Samples, Shape, Windows};
use crate::exit::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum GenerateArgs {
    /// Generate table data: ts, host, usage
    CpuUsage {
        /// Output file; `-` writes to standard output
        #[arg(default_value = "data/cpu_usage.csv")]
        file: PathBuf,
        /// Number of hosts
        #[arg(long, value_name = "N", default_value_t = 20)]
        hosts: u32,
        /// Interval between two samples of a host
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
        step: Duration,
        /// Time range covered by the data
        #[arg(long, value_name = "TIME", default_value = "48h", value_parser = duration)]
        span: Duration,
        /// Random seed
        #[arg(long, value_name = "NUMBER", default_value_t = crate::demo::SEED)]
        seed: u64,
    },
    /// Generate a workload: hostname, start_time, end_time
    QueryParams {
        /// Output file; `-` writes to standard output
        #[arg(default_value = "data/query_params.csv")]
        file: PathBuf,
        /// Number of rows
        #[arg(long, value_name = "N", default_value_t = 200)]
        rows: u64,
        /// Number of hosts in the data
        #[arg(long, value_name = "N", default_value_t = 20)]
        hosts: u32,
        /// Number of hosts that are queried
        #[arg(long, value_name = "N", default_value_t = 10)]
        hosts_used: u32,
        /// Time range covered by the data
        #[arg(long, value_name = "TIME", default_value = "48h", value_parser = duration)]
        span: Duration,
        /// Time range covered by each query
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
        window: Duration,
        /// Random seed
        #[arg(long, value_name = "NUMBER", default_value_t = crate::demo::SEED)]
        seed: u64,
    },
}

pub(super) fn run(args: GenerateArgs, interrupt: &CancellationToken) -> Result<Exit, Failure> {
    match args {
        GenerateArgs::CpuUsage { file, hosts, step, span, seed } => {
            let shape = Shape { hosts, step, span, seed, ..Shape::default() };
            let samples = Samples::try_new(&shape).map_err(Failure::usage)?;
            write(&file, interrupt, |out| {
                generate::write_samples(samples, &mut Interruptible { out, interrupt })
            })
        }
        GenerateArgs::QueryParams { file, rows, hosts, hosts_used, span, window, seed } => {
            let shape = Shape { hosts, span, ..Shape::default() };
            let windows = Windows { rows, hosts: hosts_used, window, seed };
            let windows = generate::windows(&shape, &windows).map_err(Failure::usage)?;
            write(&file, interrupt, |out| {
                generate::write_windows(windows, &mut Interruptible { out, interrupt })
            })
        }
    }
}

/// Writes rows to a file or, for `-`, to standard output. A broken pipe is not an error.
fn write(
    path: &Path,
    interrupt: &CancellationToken,
    rows: impl FnOnce(&mut dyn Write) -> io::Result<u64>,
) -> Result<Exit, Failure> {
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
        Err(_) if interrupt.is_cancelled() => Err(Failure::interrupted()),
        Err(error) => {
            let context = format!("cannot write '{}'", path.display());
            Err(Failure::write(anyhow::Error::from(error).context(context)))
        }
        Ok(count) => {
            super::print_notice(&format!("{count} rows written to {}", path.display()));
            Ok(Exit::Success)
        }
    }
}

/// A writer that fails after Ctrl-C, because writing a large file takes minutes.
struct Interruptible<'a> {
    out: &'a mut dyn Write,
    interrupt: &'a CancellationToken,
}

impl Write for Interruptible<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupt.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
