//! Requests to an agent for the server's statistics (StatsRequest) and for the plan of a row (Explain), and the replies to them.

mod decode;
mod encode;

use muster_core::server_side::{ExplainedPlan, StatsSnapshot};

/// Requests the server's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsRequest {
    pub number: u32,
    /// The workers have ended. The agent waits briefly until their backends have flushed their statistics.
    pub is_last: bool,
}

/// The reply to the [`StatsRequest`] with this number: the statistics, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsReply {
    pub number: u32,
    pub outcome: Result<Box<StatsSnapshot>, String>,
}

/// The reply to the [`Explain`] with this number: the plan, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub number: u32,
    pub outcome: Result<ExplainedPlan, String>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use muster_core::server_side::{
        DatabaseCounters, Explain, Hypertable, PlanKind, StatementCounters, Statements,
    };

    use super::*;
    use crate::v1;

    fn check(reply: StatsReply) {
        assert_eq!(StatsReply::try_from(v1::StatsReply::from(reply.clone())), Ok(reply));
    }

    #[test]
    fn statistics_and_their_absence_survive_the_round_trip() {
        let counters = StatementCounters { calls: 3, exec_ns: 4, ..StatementCounters::default() };
        let snapshot = StatsSnapshot {
            server: "1/5".to_owned(),
            identity: Some(muster_core::server_identity::ServerIdentity {
                address: "10.0.0.1:5432".to_owned(),
                role: Some(muster_core::server_identity::Role::Standby),
                ..Default::default()
            }),
            database: DatabaseCounters { blocks_hit: 7, ..DatabaseCounters::default() },
            times_reads: true,
            statements: Ok(Statements {
                counters: vec![Ok(counters), Err("no entry".to_owned())],
                times_planning: true,
                reset: "monday".to_owned(),
            }),
            hypertables: Ok(vec![Hypertable {
                name: "public.cpu_usage".to_owned(),
                chunks: 4,
                compressed_chunks: 1,
                has_compression: true,
            }]),
        };
        check(StatsReply { number: 1, outcome: Ok(Box::new(snapshot.clone())) });
        let statements = Err("not installed".to_owned());
        let partial = StatsSnapshot { statements, hypertables: Err("refused".to_owned()), ..snapshot };
        check(StatsReply { number: 2, outcome: Ok(Box::new(partial)) });
        check(StatsReply { number: 3, outcome: Err("no connection".to_owned()) });
    }

    #[test]
    fn a_plan_and_its_absence_survive_the_round_trip() {
        let plan = |kind| ExplainedPlan { lines: vec!["Result".to_owned(), "  Filter".to_owned()], kind };
        let kinds = [None, Some(PlanKind::Custom), Some(PlanKind::Generic)];
        for outcome in kinds.map(|kind| Ok(plan(kind))).into_iter().chain([Err("it writes".to_owned())]) {
            let explained = Explained { number: 9, outcome };
            assert_eq!(Explained::from(v1::Explained::from(explained.clone())), explained);
        }
        let values = |text: &'static str| Bytes::from_static(text.as_bytes());
        let explain = Explain {
            number: 9,
            statement: 2,
            parameters: values("row"),
            timeout: Duration::from_secs(1),
            execution: 12,
            earlier: vec![values("first"), values("second")],
        };
        assert_eq!(Explain::try_from(v1::Explain::from(explain.clone())), Ok(explain));
    }
}
