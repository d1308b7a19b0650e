//! The run over time and the distributions of its times, for plots.

use muster_core::ids::SlotId;
use muster_report::result::series::Column;
use muster_report::result::{AgentDistribution, Bins, Distributions, Interval};
use muster_stats::log_histogram::{COARSE_BITS, FINE_BITS, LogHistogram};

use super::inputs::Inputs;
use crate::run::latencies::histogram;
use crate::run::record::{Record, Session};
use crate::run::series::{Spanned, milliseconds};

/// More columns of a heat map could not be distinguished.
const COLUMNS_MAX: usize = 150;

/// The run over time.
pub(super) fn series(record: &Record, spanned: &[Spanned]) -> Vec<Interval> {
    let running: Vec<(u64, u64)> =
        record.sessions.iter().filter_map(|session| ran_ns(session, record)).collect();
    let is_last = |at: usize| at + 1 == spanned.len();
    let interval = |(at, interval): (usize, &Spanned)| {
        let ns = &interval.ns;
        let is_in = |run_ms: f64| {
            (milliseconds(ns.start)..milliseconds(ns.end)).contains(&run_ms)
                || (is_last(at) && run_ms >= milliseconds(ns.end))
        };
        let events = (0..).zip(&record.events).filter(|(_, event)| event.run_ms.is_some_and(is_in));
        let is_running =
            |(from, to): &&(u64, u64)| (*from..*to).contains(&ns.end.saturating_sub(1).max(ns.start));
        let agents = running.iter().filter(is_running).count();
        interval.to_result(agents as u64, events.map(|(at, _)| at).collect())
    };
    spanned.iter().enumerate().map(interval).collect()
}

/// The times at which a session had rows to run. If it is not known when it was lost, it is the time at which the slot's next session began.
fn ran_ns(session: &Session, record: &Record) -> Option<(u64, u64)> {
    let start_ns = session.offset_ns?;
    let Some(loss) = &session.lost else { return Some((start_ns, u64::MAX)) };
    let of_slot = record.sessions.iter().filter(|other| other.grant.slot == session.grant.slot);
    let next =
        of_slot.filter(|other| other.grant.epoch > session.grant.epoch).find_map(|other| other.offset_ns);
    Some((start_ns, loss.at_ns.or(next).unwrap_or(u64::MAX)))
}

/// The distributions of times; `None` if no query completed.
pub(super) fn distributions(inputs: &Inputs<'_>, spanned: &[Spanned]) -> Option<Distributions> {
    let [service, response] = inputs.latencies.histograms();
    if service.count() == 0 {
        return None;
    }
    let [lag, queueing, generator_delay] = inputs.latencies.lag_histograms();
    let agents = (0u16..).zip(inputs.latencies.by_slot(inputs.record));
    let agent = |(slot, parts): (u16, Vec<_>)| AgentDistribution {
        slot: SlotId::new(slot).to_string(),
        service_time: Bins::of(&histogram(parts), COARSE_BITS),
    };
    Some(Distributions {
        service_time: Bins::of(&service, FINE_BITS),
        response_time: Bins::of(&response, FINE_BITS),
        lag: Bins::of(&lag, FINE_BITS),
        queueing: Bins::of(&queueing, FINE_BITS),
        generator_delay: Bins::of(&generator_delay, FINE_BITS),
        agents: agents.map(agent).collect(),
        over_time: over_time(spanned, response.count() > 0),
    })
}

pub(super) fn over_time(spanned: &[Spanned], has_due_times: bool) -> Vec<Column> {
    let column = |group: &[Spanned]| {
        let mut times = LogHistogram::default();
        for Spanned { counts, .. } in group {
            times.merge(if has_due_times { &counts.response } else { &counts.service });
        }
        Column {
            start_ms: group.first().map_or(0.0, |first| milliseconds(first.ns.start)),
            end_ms: group.last().map_or(0.0, |last| milliseconds(last.ns.end)),
            bins: Bins::of(&times, COARSE_BITS),
        }
    };
    spanned.chunks(spanned.len().div_ceil(COLUMNS_MAX).max(1)).map(column).collect()
}
