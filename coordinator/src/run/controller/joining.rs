//! The first phase: waits until every slot has a connected and prepared agent.

use std::time::{Duration, Instant};

use muster_core::limits;

use super::error::{RunError, Stop};
use super::event_loop::{EventLoop, Woken};
use super::messages::list;
use crate::clock;

/// Waits until all agents are prepared. In a resumed run, also waits until the database has no backends left of the agents of an earlier
/// coordinator.
pub(super) async fn prepare_agents(
    events: &mut EventLoop<'_>,
    join_timeout: Duration,
    is_resumed: bool,
) -> Result<(), RunError> {
    // The agents of the earlier coordinator stop when their leases expire. No other agent starts before that.
    let not_before = clock::now() + limits::FENCE;
    wait_for_agents(events, join_timeout).await?;
    while is_resumed && !clear(events, not_before).await? {
        wait_for_agents(events, join_timeout).await?;
    }
    Ok(())
}

async fn wait_for_agents(events: &mut EventLoop<'_>, join_timeout: Duration) -> Result<(), RunError> {
    let join_deadline = clock::now() + join_timeout;
    let mut notice_at = clock::now() + limits::JOIN_NOTICE_EVERY;
    let mut full_since = None;
    events.sessions().publish_status();
    loop {
        let sessions = events.sessions();
        let slots = sessions.members().slots();
        if slots.all_ready() {
            return Ok(());
        }
        let is_full = slots.vacant().is_empty();
        full_since = is_full.then(|| full_since.unwrap_or_else(clock::now));
        let deadline = full_since.map_or(join_deadline, |since| since + limits::PREPARE_TIMEOUT);
        if clock::now() >= deadline {
            return Err(timeout_error(events, is_full, join_timeout));
        }
        if events.step(deadline.min(notice_at)).await? == Woken::Due && clock::now() >= notice_at {
            notice_at += limits::JOIN_NOTICE_EVERY;
            let sessions = events.sessions();
            let notice = sessions.listen_address().missing_agents(sessions.members().slots());
            sessions.log().display().println(&notice);
        }
        let sessions = events.sessions();
        let (joined, wanted) = (sessions.members().slots().joined(), sessions.members().slots().count());
        sessions.log().display().joining(joined as u64, wanted as u64);
        sessions.publish_status();
    }
}

fn timeout_error(events: &mut EventLoop<'_>, is_full: bool, waited: Duration) -> RunError {
    let sessions = events.sessions();
    let slots = sessions.members().slots();
    if is_full {
        return RunError::NotReady { slots: list(&slots.preparing()) };
    }
    let hint = sessions.listen_address().start_hint();
    RunError::NotJoined { joined: slots.joined(), wanted: slots.count(), waited, hint }
}

/// Lets one agent end the backends of all earlier sessions, after their leases have expired. If a backend were ended earlier, its query
/// would count as failed at an agent that does not know yet that its session has ended. Returns false if an agent was lost meanwhile.
async fn clear(events: &mut EventLoop<'_>, leases_lapse_at: Instant) -> Result<bool, Stop> {
    while events.sessions().members().slots().all_ready() && clock::now() < leases_lapse_at {
        events.step(leases_lapse_at).await?;
    }
    if !events.sessions().members().slots().all_ready() {
        return Ok(false);
    }
    events.sessions().clear();
    while let Some(until) = events.sessions().clear_until() {
        if clock::now() >= until {
            return Ok(true);
        }
        events.step(until).await?;
    }
    Ok(false)
}
