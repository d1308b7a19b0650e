//! The main loop of an agent: join a run, serve it, join the next one. Without a coordinator the agent waits for one, without a limit.

use std::error::Error as _;
use std::time::{Duration, Instant};

use muster_common::limits;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::AgentConfig;
use crate::runtime::Runtime;
use crate::session::{self, Ended, Past, SessionError, UnackedResults};

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
    let mut retry = Retry::new(runtime.seed);
    let mut unacked = None;
    let mut past = Past::new(runtime.seed);
    let mut lost_at = None;
    while !shutdown.is_cancelled() {
        let began = clock::now();
        let served = session::serve(&config, runtime, &mut unacked, &mut past, &shutdown).await;
        // Not after every session: an agent that joins but cannot prepare must not retry many times a second.
        if std::mem::take(&mut past.got_ready) {
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
        check_parked(&config, &mut unacked, lost_at)?;
        runtime.metrics.set_unacknowledged(unacked.as_ref().map_or(0, UnackedResults::count));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(retry.next_delay()) => {}
        }
    }
    Ok(())
}

/// Drops results that no coordinator has taken within [`limits::UNACKED_RESULTS_TIMEOUT`]. With `--once`, the agent gives up after the same
/// time.
fn check_parked(
    config: &AgentConfig,
    unacked: &mut Option<UnackedResults>,
    lost_at: Option<Instant>,
) -> Result<(), AgentError> {
    if let Some(old) =
        unacked.take_if(|unacked| clock::since(unacked.since) > limits::UNACKED_RESULTS_TIMEOUT)
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
    random: u64,
}

impl Retry {
    fn new(seed: u64) -> Self {
        Self { delay: limits::RETRY_FIRST, last_shown: None, random: seed }
    }

    fn restart(&mut self) {
        *self = Self::new(self.random);
    }

    fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(limits::RETRY_MAX);
        delay.mul_f64(0.5 + 0.5 * self.jitter())
    }

    /// Returns a number from 0 to 1. The generator is SplitMix64, for which every seed is equally good.
    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
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
        let text = with_causes(error);
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

fn with_causes(error: &SessionError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_bound() {
        let mut retry = Retry::new(7);
        let mut bound = limits::RETRY_FIRST;
        for _ in 0..12 {
            let delay = retry.next_delay();
            assert!(delay <= bound && delay >= bound / 2, "{delay:?} is not within {bound:?}");
            bound = (bound * 2).min(limits::RETRY_MAX);
        }
        assert_eq!(bound, limits::RETRY_MAX);
    }
}
