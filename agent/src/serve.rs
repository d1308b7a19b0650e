//! An agent's life: join a run, serve it, join the next. Without a coordinator it waits for one, for ever.

use std::error::Error as _;
use std::time::{Duration, Instant};

use muster_common::limits;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::config::AgentConfig;
use crate::session::{self, Ended, KeptResults, Past, SessionError};
use crate::surroundings::Surroundings;

/// Why an agent gave up. After everything else it joins again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("coordinator {coordinator} refused this agent: {reason}")]
    Refused { coordinator: String, reason: String },
    #[error("coordinator {coordinator} was lost in mid-run and did not come back within {:?}", limits::PARK)]
    Lost { coordinator: String },
    #[error("{0}")]
    CannotStart(String),
}

/// Serves runs until `shutdown`, or one run when `config.once`.
pub async fn serve(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    serve_in(&Surroundings::real(), config, shutdown).await
}

/// [`serve`] on another network, at another workplace.
pub async fn serve_in(
    surroundings: &Surroundings,
    config: AgentConfig,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let mut retry = Retry::new(surroundings.seed);
    let mut kept = None;
    let mut past = Past::new(surroundings.seed);
    let mut lost_at = None;
    while !shutdown.is_cancelled() {
        let began = clock::now();
        let served = session::serve(&config, surroundings, &mut kept, &mut past, &shutdown).await;
        // An agent that joins and cannot prepare must not do so many times a second.
        if std::mem::take(&mut past.got_ready) {
            retry.begin_anew();
        }
        match served {
            Ok(Ended::Shutdown) => break,
            Ok(Ended::Bye { reason, had_place }) => {
                retry.say_ended(&reason);
                if config.once && had_place {
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
                retry.say(&config, &error);
            }
        }
        park(&config, &mut kept, lost_at)?;
        surroundings.metrics.hold(kept.as_ref().map_or(0, KeptResults::count));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(retry.next_delay()) => {}
        }
    }
    Ok(())
}

/// Without its coordinator an agent runs nothing and keeps its results, for a while.
fn park(
    config: &AgentConfig,
    kept: &mut Option<KeptResults>,
    lost_at: Option<Instant>,
) -> Result<(), AgentError> {
    if let Some(old) = kept.take_if(|kept| clock::since(kept.since) > limits::PARK) {
        warn!(
            "{} results of run {} are dropped: nobody took them for {:?}",
            old.count(),
            old.run,
            limits::PARK
        );
    }
    if config.once && lost_at.is_some_and(|at| clock::since(at) > limits::PARK) {
        return Err(AgentError::Lost { coordinator: config.coordinators.to_string() });
    }
    Ok(())
}

/// Waits that double up to a bound, jittered, so that a thousand agents do not knock in step.
struct Retry {
    delay: Duration,
    last_said: Option<String>,
    random: u64,
}

impl Retry {
    fn new(seed: u64) -> Self {
        Self { delay: limits::RETRY_FIRST, last_said: None, random: seed }
    }

    fn begin_anew(&mut self) {
        *self = Self::new(self.random);
    }

    fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(limits::RETRY_MAX);
        delay.mul_f64(0.5 + 0.5 * self.jitter())
    }

    /// 0 to 1. SplitMix64, with which one seed gives as good a sequence as another.
    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Once for each reason, as below.
    fn say_ended(&mut self, reason: &str) {
        if self.last_said.as_deref() == Some(reason) {
            debug!("run ended: {reason}");
            return;
        }
        info!("run ended: {reason}");
        self.last_said = Some(reason.to_owned());
    }

    /// Says each new cause once; the repeats go to the debug log.
    fn say(&mut self, config: &AgentConfig, error: &SessionError) {
        let text = with_causes(error);
        if self.last_said.as_deref() == Some(&text) {
            debug!("{text}; trying again");
            return;
        }
        match error {
            SessionError::Unreachable { .. } => {
                info!("waiting for a coordinator at {} ({text})", config.coordinators);
            }
            _ => warn!("{text}; joining again"),
        }
        self.last_said = Some(text);
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
    fn retries_wait_longer_each_time_up_to_the_bound() {
        let mut retry = Retry::new(7);
        let mut bound = limits::RETRY_FIRST;
        for _ in 0..12 {
            let delay = retry.next_delay();
            assert!(delay <= bound && delay >= bound / 2, "{delay:?} is outside of {bound:?}");
            bound = (bound * 2).min(limits::RETRY_MAX);
        }
        assert_eq!(bound, limits::RETRY_MAX);
    }
}
