//! The Work stream in domain types: rows out, measurements back, each in batches.

use bytes::Bytes;
use muster_common::ids::{Epoch, RowId, SessionId, SlotId};
use muster_common::limits;
use muster_common::measurement::{Answer, Measurement, Outcome, QueryError, SqlState};
pub use muster_common::outbox::{Credit, Results};
use muster_common::slots::Grant;

use crate::v1;
use crate::v1::agent_work::Kind as AgentKind;
use crate::v1::coordinator_work::Kind as CoordinatorKind;
use crate::wire::{self, WireError, narrow};

#[derive(Debug, Clone, PartialEq)]
pub enum FromAgent {
    Open(SessionId),
    Credit(Credit),
    Results(Results),
}

#[derive(Debug, Clone, PartialEq)]
pub enum FromCoordinator {
    Assign(Assign),
    /// Every Results message up to this number is counted.
    Ack(u64),
}

/// Rows for one worker, in the order in which it runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    pub worker: u16,
    pub rows: Vec<RowId>,
    /// The values of all rows in the layout of [`muster_common::parameters`].
    pub parameters: Bytes,
}

// -- from the wire -----------------------------------------------------------------------------------------------------

impl TryFrom<v1::AgentWork> for FromAgent {
    type Error = WireError;

    fn try_from(wire: v1::AgentWork) -> Result<Self, WireError> {
        Ok(match wire.kind.ok_or(WireError::Empty("AgentWork"))? {
            AgentKind::Open(open) => Self::Open(wire::session(open.session)?),
            AgentKind::Credit(credit) => {
                Self::Credit(Credit { worker: narrow("credit.worker", credit.worker)?, rows: credit.rows })
            }
            AgentKind::Results(results) => Self::Results(results.try_into()?),
        })
    }
}

impl TryFrom<v1::CoordinatorWork> for FromCoordinator {
    type Error = WireError;

    fn try_from(wire: v1::CoordinatorWork) -> Result<Self, WireError> {
        Ok(match wire.kind.ok_or(WireError::Empty("CoordinatorWork"))? {
            CoordinatorKind::Assign(assign) => Self::Assign(Assign {
                worker: narrow("assign.worker", assign.worker)?,
                rows: assign.row.into_iter().map(RowId::new).collect(),
                parameters: assign.parameters,
            }),
            CoordinatorKind::Ack(ack) => Self::Ack(ack.number),
        })
    }
}

impl TryFrom<v1::Results> for Results {
    type Error = WireError;

    fn try_from(wire: v1::Results) -> Result<Self, WireError> {
        let count = wire.row.len();
        let expect = |field, found: usize| {
            if found == count { Ok(()) } else { Err(WireError::Length { field, expected: count, found }) }
        };
        expect("results.worker", wire.worker.len())?;
        expect("results.service_time_ns", wire.service_time_ns.len())?;
        expect("results.start_ns", wire.start_ns.len())?;
        expect("results.answer_rows", wire.answer_rows.len())?;
        expect("results.answer_bytes", wire.answer_bytes.len())?;
        expect("results.answer_digest", wire.answer_digest.len())?;
        if !wire.lag_ns.is_empty() {
            expect("results.lag_ns", wire.lag_ns.len())?;
        }

        let ran_under = wire.ran_under.map(grant).transpose()?;
        let mut failures = wire.failure.into_iter().peekable();
        let mut measurements = Vec::with_capacity(count);
        for index in 0..count {
            let outcome = match failures.next_if(|failure| failure.index as usize == index) {
                Some(failure) => Outcome::Failed(failure.try_into()?),
                None => Outcome::Completed(Answer {
                    rows: wire.answer_rows[index],
                    bytes: wire.answer_bytes[index],
                    digest: wire.answer_digest[index],
                }),
            };
            let measurement = Measurement {
                row: RowId::new(wire.row[index]),
                start_ns: wire.start_ns[index],
                lag_ns: wire.lag_ns.get(index).copied().unwrap_or(0),
                service_time_ns: wire.service_time_ns[index],
                outcome,
            };
            measurements.push((narrow("results.worker", wire.worker[index])?, measurement));
        }
        match failures.next() {
            None => Ok(Self { number: wire.number, ran_under, measurements }),
            Some(failure) => {
                Err(WireError::OutOfRange { field: "failure.index", value: failure.index.to_string() })
            }
        }
    }
}

fn grant(wire: v1::RanUnder) -> Result<Grant, WireError> {
    let slot = SlotId::new(narrow("ran_under.slot", wire.slot)?);
    Ok(Grant { slot, epoch: Epoch::new(wire.epoch) })
}

impl TryFrom<v1::Failure> for QueryError {
    type Error = WireError;

    fn try_from(wire: v1::Failure) -> Result<Self, WireError> {
        let sqlstate = SqlState::try_new(&wire.sqlstate)
            .map_err(|_| WireError::OutOfRange { field: "failure.sqlstate", value: wire.sqlstate })?;
        let message = match wire.message.char_indices().nth(limits::MESSAGE_CHARS_MAX) {
            Some((end, _)) => wire.message[..end].to_owned(),
            None => wire.message,
        };
        Ok(Self { sqlstate, message })
    }
}

// -- to the wire -------------------------------------------------------------------------------------------------------

impl From<FromAgent> for v1::AgentWork {
    fn from(message: FromAgent) -> Self {
        let kind = match message {
            FromAgent::Open(session) => AgentKind::Open(v1::Open { session: Some(session.into()) }),
            FromAgent::Credit(Credit { worker, rows }) => {
                AgentKind::Credit(v1::Credit { worker: worker.into(), rows })
            }
            FromAgent::Results(results) => AgentKind::Results(results.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl From<FromCoordinator> for v1::CoordinatorWork {
    fn from(message: FromCoordinator) -> Self {
        let kind = match message {
            FromCoordinator::Assign(assign) => CoordinatorKind::Assign(v1::Assign {
                worker: assign.worker.into(),
                row: assign.rows.into_iter().map(RowId::get).collect(),
                parameters: assign.parameters,
            }),
            FromCoordinator::Ack(number) => CoordinatorKind::Ack(v1::Ack { number }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<Results> for v1::Results {
    fn from(results: Results) -> Self {
        let ran_under = results
            .ran_under
            .map(|Grant { slot, epoch }| v1::RanUnder { slot: slot.get().into(), epoch: epoch.get() });
        let mut wire = Self { number: results.number, ran_under, ..Self::default() };
        for (index, (worker, measurement)) in (0u32..).zip(results.measurements) {
            let answer = match measurement.outcome {
                Outcome::Completed(answer) => answer,
                Outcome::Failed(QueryError { sqlstate, message }) => {
                    wire.failure.push(v1::Failure { index, sqlstate: sqlstate.to_string(), message });
                    Answer::default()
                }
            };
            wire.worker.push(worker.into());
            wire.row.push(measurement.row.get());
            wire.start_ns.push(measurement.start_ns);
            wire.lag_ns.push(measurement.lag_ns);
            wire.service_time_ns.push(measurement.service_time_ns);
            wire.answer_rows.push(answer.rows);
            wire.answer_bytes.push(answer.bytes);
            wire.answer_digest.push(answer.digest);
        }
        if wire.lag_ns.iter().all(|lag| *lag == 0) {
            wire.lag_ns.clear();
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), any::<u64>())
                .prop_map(|(rows, bytes, digest)| { Outcome::Completed(Answer { rows, bytes, digest }) }),
            ("[0-9A-Z]{5}", ".{0,40}").prop_map(|(sqlstate, message)| {
                Outcome::Failed(QueryError { sqlstate: SqlState::try_new(&sqlstate).unwrap(), message })
            }),
        ]
    }

    fn measurement() -> impl Strategy<Value = (u16, Measurement)> {
        (any::<u16>(), any::<u32>(), any::<[u64; 3]>(), outcome()).prop_map(
            |(worker, row, [start_ns, lag_ns, service_time_ns], outcome)| {
                (worker, Measurement { row: RowId::new(row), start_ns, lag_ns, service_time_ns, outcome })
            },
        )
    }

    proptest! {
        #[test]
        fn results_survive_the_wire(
            number: u64,
            ran_under in proptest::option::of((any::<u16>(), any::<u64>())),
            measurements in proptest::collection::vec(measurement(), 0..40),
        ) {
            let ran_under = ran_under.map(|(slot, epoch)| Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) });
            let results = Results { number, ran_under, measurements };
            let wire = v1::Results::from(results.clone());
            prop_assert_eq!(Results::try_from(wire).unwrap(), results);
        }
    }

    fn one_result() -> v1::Results {
        v1::Results {
            number: 1,
            worker: vec![0],
            row: vec![7],
            start_ns: vec![5],
            service_time_ns: vec![1_000],
            answer_rows: vec![1],
            answer_bytes: vec![8],
            answer_digest: vec![42],
            ..v1::Results::default()
        }
    }

    #[test]
    fn a_column_of_another_length_is_refused_by_name() {
        let error = Results::try_from(v1::Results { service_time_ns: vec![], ..one_result() }).unwrap_err();
        assert_eq!(error.to_string(), "field 'results.service_time_ns' has 0 entries, but 1 were expected");
    }

    #[test]
    fn a_failure_that_points_nowhere_is_refused() {
        let failure = vec![v1::Failure { index: 1, sqlstate: "22007".into(), message: String::new() }];
        let error = Results::try_from(v1::Results { failure, ..one_result() }).unwrap_err();
        assert_eq!(error.to_string(), "field 'failure.index' has the value '1', which is out of range");
    }

    #[test]
    fn a_failure_twice_at_one_index_is_refused() {
        let failure = v1::Failure { index: 0, sqlstate: "22007".into(), message: String::new() };
        let wire = v1::Results { failure: vec![failure.clone(), failure], ..one_result() };
        assert!(Results::try_from(wire).is_err());
    }

    #[test]
    fn a_sqlstate_that_is_none_is_refused() {
        let failure = vec![v1::Failure { index: 0, sqlstate: "22".into(), message: String::new() }];
        let error = Results::try_from(v1::Results { failure, ..one_result() }).unwrap_err();
        assert_eq!(error.to_string(), "field 'failure.sqlstate' has the value '22', which is out of range");
    }
}
