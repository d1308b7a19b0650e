//! Ctrl-C and SIGTERM: the first asks to end well, the second to leave at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Returns the watching task and the tokens of the first and of the second signal.
pub(super) fn watch() -> io::Result<(JoinHandle<()>, CancellationToken, CancellationToken)> {
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
