//! Signal handling. The first Ctrl-C or SIGTERM ends the run gracefully, the second exits immediately. A write beyond the file size
//! limit is reported like a full disk.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The number on Linux and macOS for every processor except MIPS.
const SIGXFSZ: i32 = 25;

/// Without a handler, SIGXFSZ ends the process when a write exceeds `ulimit -f`. With one, the write returns an error, as on a full disk.
/// The handler stays installed after the returned value is dropped.
fn handle_file_size_limit() -> io::Result<Signal> {
    signal(SignalKind::from_raw(SIGXFSZ))
}

/// Starts the signal handler and returns its task and the tokens of the first and second signal. SIGINT is handled even if it was ignored
/// at the start, as it is for background processes of a script: a SIGINT sent there is meant for this process.
pub(super) fn watch() -> io::Result<(JoinHandle<()>, CancellationToken, CancellationToken)> {
    drop(handle_file_size_limit()?);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let first = CancellationToken::new();
    let second = CancellationToken::new();
    let tokens = [first.clone(), second.clone()];
    let task = tokio::spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            token.cancel();
        }
    });
    Ok((task, first, second))
}
