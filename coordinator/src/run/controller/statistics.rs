//! Server statistics before and after the counted rows, and the plans of the slowest rows. Never read while rows run. If it fails, the run
//! continues without them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_core::ids::RowId;
use muster_core::limits;
use muster_core::parameters::PackedParameters;
use muster_core::server_side::Explain;
use muster_core::server_side::ExplainedPlan;
use muster_proto::control::{Explained, FromCoordinator, StatsReply, StatsRequest};
use muster_report::result::Ending;

use muster_report::units::counted;

use super::event_loop::EventLoop;
use super::stats_collector::Reply;
use crate::clock;
use crate::run::plan::RunPlan;
use crate::run::record::Fact;
use crate::run::server_stats;
use crate::run::slowest::{Slow, Slowest};
use crate::workload::{RowReader, Workload};

/// The additional time that an agent has to reply, beyond the timeout of the request.
const GRACE: Duration = Duration::from_secs(1);
const ASKED_MAX: usize = 3;

/// Reads the statistics. Returns true if they were read, and `Err` if the run ended meanwhile.
pub(super) async fn request_stats(events: &mut EventLoop<'_>, is_last: bool) -> Result<bool, Ending> {
    let request = |number| FromCoordinator::StatsRequest(StatsRequest { number, is_last });
    let outcome = match events.ask(request, limits::STATS_TIMEOUT + GRACE, ASKED_MAX).await? {
        Ok(Reply::Stats(StatsReply { outcome, .. })) => outcome,
        Ok(Reply::Explained(_)) => Err("the agent replied to another request".to_owned()),
        Err(why) => Err(why),
    };
    let is_read = outcome.is_ok();
    events.sessions().log().note_with_changes(match outcome {
        Ok(snapshot) => Fact::StatsTaken { is_last, snapshot },
        Err(why) => Fact::NoStats { why: format!("server statistics are missing: {why}") },
    });
    Ok(is_read)
}

/// Reads the statistics after every row has run and every worker has ended. `is_open` is true if they were read before the last round.
pub(super) async fn collect_stats_after(events: &mut EventLoop<'_>, ending: Ending, is_open: bool) {
    let sessions = events.sessions();
    if ending == Ending::CannotWrite || sessions.record().server.before.is_none() {
        return;
    }
    if !is_open {
        let why = "server statistics are missing: queries that are not counted ran after the counted ones";
        sessions.log().note(Fact::NoStats { why: why.to_owned() });
        return;
    }
    // An error would mean that the run has ended, which it has anyway.
    let _ = request_stats(events, true).await;
}

/// Explains the slowest rows. Runs after the last statistics are read, so that these executions are not in the statistics. `warmed_up` has
/// the first executions of each connection, from the warm-up.
pub(super) async fn explain_slowest(
    events: &mut EventLoop<'_>,
    plan: &RunPlan,
    warmed_up: &Slowest,
    ending: Ending,
) {
    let keeper = events.sessions().round().map(|round| round.keeper().clone());
    let Some(keeper) = keeper.filter(|_| plan.explain_slowest > 0) else { return };
    if ending != Ending::Completed {
        not_explained(events, "the run did not complete");
        return;
    }
    let mut slowest = keeper.slowest().await.unwrap_or_default().rows().to_vec();
    // The first executions of a connection may belong to the warm-up.
    for slow in slowest.iter_mut().filter(|slow| slow.earlier.is_empty()) {
        slow.earlier = warmed_up.before(slow.worker, slow.statement, slow.execution);
    }
    if slowest.is_empty() {
        not_explained(events, "no query completed");
        return;
    }
    let queries = counted(slowest.len() as u64, "query");
    let notice = format!("explaining the slowest {queries}: each is run again");
    events.sessions().log().display().println(&notice);
    let mut reader = Parameters::new(&plan.workload);
    let deadline = clock::now() + limits::EXPLAIN_ALL_TIMEOUT;
    for slow in slowest {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            not_explained(events, &format!("time limit of {:?} reached", limits::EXPLAIN_ALL_TIMEOUT));
            return;
        }
        if events.is_interrupted() {
            not_explained(events, "interrupted");
            return;
        }
        let timeout = plan
            .spec
            .session
            .timeout
            .unwrap_or(limits::EXPLAIN_TIMEOUT)
            .min(limits::EXPLAIN_TIMEOUT)
            .min(left);
        let explained = explain(events, &slow, &mut reader, timeout).await;
        let host = plan.workload.hosts().name(slow.host).to_owned();
        let Slow { row, statement, execution, service_time_ns, .. } = slow;
        let (row, kind) = (row.get(), explained.as_ref().ok().and_then(|plan| plan.kind));
        let plan = explained.map(|plan| plan.lines);
        let explained =
            server_stats::Explained { row, host, statement, service_time_ns, plan, execution, kind };
        events.sessions().log().note(Fact::Explained(Box::new(explained)));
    }
}

fn not_explained(events: &mut EventLoop<'_>, why: &str) {
    let why = format!("plans of the slowest queries are missing: {why}");
    events.sessions().log().note(Fact::NoStats { why });
}

async fn explain(
    events: &mut EventLoop<'_>,
    slow: &Slow,
    reader: &mut Parameters,
    timeout: Duration,
) -> Result<ExplainedPlan, String> {
    let (parameters, earlier) = (reader.of(slow.record)?, reader.of_earlier(&slow.earlier)?);
    let Slow { statement, execution, .. } = *slow;
    let request = move |number| {
        let (parameters, earlier) = (parameters.clone(), earlier.clone());
        FromCoordinator::Explain(Explain { number, statement, parameters, timeout, execution, earlier })
    };
    match events.ask(request, timeout + limits::STATS_TIMEOUT + GRACE, 1).await {
        Ok(Ok(Reply::Explained(Explained { outcome, .. }))) => outcome,
        Ok(Ok(Reply::Stats(_))) => Err("the agent replied to another request".to_owned()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err("the run ended".to_owned()),
    }
}

/// Reads the parameters of records as agents receive them.
struct Parameters(RowReader);

impl Parameters {
    fn new(workload: &Arc<Workload>) -> Self {
        Self(RowReader::new(Arc::clone(workload)))
    }

    fn of(&mut self, record: RowId) -> Result<Bytes, String> {
        let mut parameters = PackedParameters::new();
        let read = clock::blocking(|| self.0.read(record, &mut parameters));
        read.map(|_| Bytes::from(parameters.into_bytes())).map_err(|problem| problem.to_string())
    }

    /// Reads the first of these records, as many as fit into a message.
    fn of_earlier(&mut self, records: &[RowId]) -> Result<Vec<Bytes>, String> {
        let (mut earlier, mut bytes) = (Vec::new(), 0);
        for record in records {
            let parameters = self.of(*record)?;
            bytes += parameters.len();
            if bytes > limits::EXPLAIN_EARLIER_BYTES_MAX {
                break;
            }
            earlier.push(parameters);
        }
        Ok(earlier)
    }
}
