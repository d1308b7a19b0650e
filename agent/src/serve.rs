//! The main loop of an agent: join a run, serve it, join the next one. Without a coordinator the agent waits for one, without a limit.

use std::time::{Duration, Instant};

use muster_core::limits;
use muster_stats::random::SplitMix64;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::AgentConfig;
use crate::history::History;
use crate::runtime::Runtime;
use crate::session;
use crate::session_end::{Ended, SessionError, causes};

/// Why an agent gave up. After any other error it joins again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("coordinator {coordinator} refused this agent: {reason}")]
    Refused { coordinator: String, reason: String },
    #[error(
        "coordinator {coordinator} was lost during the run and did not come back within {:?}",
        limits::UNACKED_RESULTS_TIMEOUT
    )]
    Lost { coordinator: String },
    #[error("{0}")]
    CannotStart(String),
}

/// Serves runs until `shutdown`, or one run when `config.once`.
pub async fn serve(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    serve_in(&Runtime::real(), config, shutdown).await
}

/// [`serve`] with the given network and driver.
pub async fn serve_in(
    runtime: &Runtime,
    config: AgentConfig,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let mut retry = Retry::new(SplitMix64::new(runtime.seed));
    let mut history = History::new(runtime.seed);
    let mut lost_at = None;
    while !shutdown.is_cancelled() {
        let began = clock::now();
        let served = session::serve(&config, runtime, &mut history, &shutdown).await;
        // Not after every session: an agent that joins but cannot prepare must not retry many times a second.
        if std::mem::take(&mut history.got_ready) {
            retry.restart();
        }
        match served {
            Ok(Ended::Shutdown) => break,
            Ok(Ended::Bye { reason, had_slot }) => {
                retry.log_run_end(&reason);
                if config.once && had_slot {
                    break;
                }
                lost_at = None;
            }
            Err(SessionError::CannotStart(reason)) => return Err(AgentError::CannotStart(reason)),
            Err(SessionError::Refused { reason }) => {
                return Err(AgentError::Refused { coordinator: config.coordinators.to_string(), reason });
            }
            Err(error) => {
                if clock::since(began) > limits::RETRY_MAX {
                    lost_at = None;
                }
                if error.ended_a_session() {
                    lost_at.get_or_insert_with(clock::now);
                }
                retry.log_error(&config, &error);
            }
        }
        check_parked(&config, &mut history, lost_at)?;
        runtime.metrics.set_unacknowledged(history.count_unacked());
        shutdown.run_until_cancelled(tokio::time::sleep(retry.next_delay())).await;
    }
    Ok(())
}

/// Drops results that no coordinator has taken within [`limits::UNACKED_RESULTS_TIMEOUT`]. With `--once`, the agent gives up after the same
/// time.
fn check_parked(
    config: &AgentConfig,
    history: &mut History,
    lost_at: Option<Instant>,
) -> Result<(), AgentError> {
    if let Some(old) =
        history.unacked.take_if(|unacked| clock::since(unacked.since) > limits::UNACKED_RESULTS_TIMEOUT)
    {
        warn!(
            "{} results of run {} are dropped: the coordinator did not come back within {:?}",
            old.count(),
            old.run,
            limits::UNACKED_RESULTS_TIMEOUT
        );
    }
    if config.once && lost_at.is_some_and(|at| clock::since(at) > limits::UNACKED_RESULTS_TIMEOUT) {
        return Err(AgentError::Lost { coordinator: config.coordinators.to_string() });
    }
    Ok(())
}

/// Exponential backoff up to a bound, with jitter, so that a thousand agents do not reconnect at the same time.
struct Retry {
    delay: Duration,
    last_shown: Option<String>,
    random: SplitMix64,
}

impl Retry {
    fn new(random: SplitMix64) -> Self {
        Self { delay: limits::RETRY_FIRST, last_shown: None, random }
    }

    fn restart(&mut self) {
        *self = Self::new(self.random.clone());
    }

    fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(limits::RETRY_MAX);
        delay.mul_f64(0.5 + 0.5 * self.random.unit())
    }

    /// Logs the end of a run. A repeated reason goes to the debug log.
    fn log_run_end(&mut self, reason: &str) {
        if self.last_shown.as_deref() == Some(reason) {
            debug!("run ended: {reason}");
            return;
        }
        info!("run ended: {reason}");
        self.last_shown = Some(reason.to_owned());
    }

    /// Logs an error. A repeated error goes to the debug log.
    fn log_error(&mut self, config: &AgentConfig, error: &SessionError) {
        let text = causes(error);
        if self.last_shown.as_deref() == Some(&text) {
            debug!("{text}; trying again");
            return;
        }
        match error {
            SessionError::Unreachable { .. } => {
                info!("waiting for a coordinator at {} ({text})", config.coordinators);
            }
            _ => warn!("{text}; joining again"),
        }
        self.last_shown = Some(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_bound() {
        let mut retry = Retry::new(SplitMix64::new(7));
        let mut bound = limits::RETRY_FIRST;
        for _ in 0..12 {
            let delay = retry.next_delay();
            assert!(delay <= bound && delay >= bound / 2, "{delay:?} is not within {bound:?}");
            bound = (bound * 2).min(limits::RETRY_MAX);
        }
        assert_eq!(bound, limits::RETRY_MAX);
    }
}
