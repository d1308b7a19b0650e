//! Ctrl-C and SIGTERM: the first asks to end well, the second to leave at once. A file that may not grow is told like a full disk.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Linux and macOS, whatever the processor; MIPS alone has another number.
const SIGXFSZ: i32 = 25;

/// A write beyond `ulimit -f` ends the process, unless somebody listens: then the write fails, as on a full disk, and is told.
/// Once listened to, it stays so.
fn survive_file_limits() -> io::Result<Signal> {
    signal(SignalKind::from_raw(SIGXFSZ))
}

/// Returns the watching task and the tokens of the first and of the second signal. A SIGINT counts even if it was ignored at the start, as
/// in the background of a script: a SIGINT sent there is meant for this process.
pub(super) fn watch() -> io::Result<(JoinHandle<()>, CancellationToken, CancellationToken)> {
    drop(survive_file_limits()?);
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
