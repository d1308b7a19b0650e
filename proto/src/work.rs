//! The messages of the Work stream as domain types: batches of rows to the agent, and batches of measurements from it.

mod results;

use bytes::Bytes;
use muster_core::ids::RowId;
pub use muster_core::outbox::{Credit, Results};
use muster_core::session_token::GrantedSession;

use crate::v1;
use crate::v1::agent_work::Kind as AgentKind;
use crate::v1::coordinator_work::Kind as CoordinatorKind;
use crate::wire::{self, WireError, narrow};

#[derive(Debug, Clone, PartialEq)]
pub enum FromAgent {
    Open(GrantedSession),
    Credit(Credit),
    Results(Results),
    /// The time of this round is over. All of its results were sent before this message.
    RoundOver {
        round: u32,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum FromCoordinator {
    Assign(Assign),
    /// All Results messages up to this number are counted.
    Ack(u64),
}

/// Rows for one worker, in the order in which it runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assign {
    pub worker: u16,
    /// The round of the rows.
    pub round: u32,
    pub rows: Vec<Order>,
    /// The values of all rows in the layout of [`muster_core::parameters`].
    pub parameters: Bytes,
}

/// A row to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub row: RowId,
    /// Due time relative to the start of the round. `None` in a closed loop.
    pub due_ns: Option<u64>,
    /// Position among the run's statements.
    pub statement: u16,
    /// The database: 0, or 1 for the second one.
    pub target: u16,
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
            AgentKind::RoundOver(over) => Self::RoundOver { round: over.round },
        })
    }
}

impl TryFrom<v1::CoordinatorWork> for FromCoordinator {
    type Error = WireError;

    fn try_from(wire: v1::CoordinatorWork) -> Result<Self, WireError> {
        Ok(match wire.kind.ok_or(WireError::Empty("CoordinatorWork"))? {
            CoordinatorKind::Assign(assign) => Self::Assign(assign.try_into()?),
            CoordinatorKind::Ack(ack) => Self::Ack(ack.number),
        })
    }
}

impl TryFrom<v1::Assign> for Assign {
    type Error = WireError;

    fn try_from(wire: v1::Assign) -> Result<Self, WireError> {
        let count = wire.row.len();
        expect_or_empty("assign.due_ns", count, wire.due_ns.len())?;
        expect_or_empty("assign.statement", count, wire.statement.len())?;
        expect_or_empty("assign.target", count, wire.target.len())?;
        let column = |name, numbers: &[u32], index| narrow(name, numbers.get(index).copied().unwrap_or(0));
        let order = |(index, row): (usize, u32)| -> Result<Order, WireError> {
            Ok(Order {
                row: RowId::new(row),
                due_ns: wire.due_ns.get(index).copied(),
                statement: column("assign.statement", &wire.statement, index)?,
                target: column("assign.target", &wire.target, index)?,
            })
        };
        Ok(Self {
            worker: narrow("assign.worker", wire.worker)?,
            round: wire.round,
            rows: wire.row.iter().copied().enumerate().map(order).collect::<Result<_, _>>()?,
            parameters: wire.parameters,
        })
    }
}

fn expect(field: &'static str, expected: usize, found: usize) -> Result<(), WireError> {
    if found == expected { Ok(()) } else { Err(WireError::Length { field: field.into(), expected, found }) }
}

/// A column may be empty if all of its values are 0.
fn expect_or_empty(field: &'static str, expected: usize, found: usize) -> Result<(), WireError> {
    if found == 0 { Ok(()) } else { expect(field, expected, found) }
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
            FromAgent::RoundOver { round } => AgentKind::RoundOver(v1::RoundOver { round }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<FromCoordinator> for v1::CoordinatorWork {
    fn from(message: FromCoordinator) -> Self {
        let kind = match message {
            FromCoordinator::Assign(assign) => CoordinatorKind::Assign(assign.into()),
            FromCoordinator::Ack(number) => CoordinatorKind::Ack(v1::Ack { number }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<Assign> for v1::Assign {
    fn from(Assign { worker, round, rows, parameters }: Assign) -> Self {
        Self {
            worker: worker.into(),
            row: rows.iter().map(|order| order.row.get()).collect(),
            parameters,
            round,
            due_ns: rows.iter().filter_map(|order| order.due_ns).collect(),
            statement: unless_zeros(rows.iter().map(|order| order.statement)),
            target: unless_zeros(rows.iter().map(|order| order.target)),
        }
    }
}

/// Returns a column, which is empty if all of its values are 0.
fn unless_zeros(numbers: impl Iterator<Item = u16> + Clone) -> Vec<u32> {
    match numbers.clone().all(|number| number == 0) {
        true => Vec::new(),
        false => numbers.map(u32::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::{Epoch, SlotId};
    use muster_core::sample::{Answer, Execution, Lag, Outcome, QueryError, Sample, SqlState};
    use muster_core::slots::Grant;
    use proptest::prelude::*;

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), any::<u64>())
                .prop_map(|(rows, bytes, digest)| { Outcome::Completed(Answer { rows, bytes, digest }) }),
            (
                "[0-9A-Z]{5}",
                "\\PC{0,40}",
                proptest::option::of("\\PC{1,9}"),
                proptest::option::of("\\PC{1,9}")
            )
                .prop_map(|(sqlstate, message, detail, hint)| {
                    let sqlstate = SqlState::try_new(&sqlstate).unwrap();
                    Outcome::Failed(QueryError { sqlstate, message, detail, hint })
                }),
        ]
    }

    /// The round of all measurements, because a message contains only one round.
    const ROUND: u32 = 3;

    fn measurement() -> impl Strategy<Value = (u16, Sample)> {
        (any::<[u16; 2]>(), any::<[u32; 2]>(), any::<[u64; 4]>(), outcome()).prop_map(
            |(
                [worker, statement],
                [row, number],
                [start_ns, queueing_ns, generator_delay_ns, service_time_ns],
                outcome,
            )| {
                let lag = Lag { queueing_ns, generator_delay_ns };
                let execution = Execution { round: ROUND, statement, number };
                let row = RowId::new(row);
                (worker, Sample { start_ns, lag, service_time_ns, execution, outcome, ..Sample::zero(row) })
            },
        )
    }

    fn order() -> impl Strategy<Value = Order> {
        (any::<u32>(), any::<u64>(), any::<[u16; 2]>()).prop_map(|(row, due_ns, [statement, target])| Order {
            row: RowId::new(row),
            due_ns: Some(due_ns),
            statement,
            target,
        })
    }

    proptest! {
        #[test]
        fn results_survive_the_round_trip(
            number: u64,
            ran_under in proptest::option::of((any::<u16>(), any::<u64>())),
            measurements in proptest::collection::vec(measurement(), 1..40),
        ) {
            let ran_under = ran_under.map(|(slot, epoch)| Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) });
            let results = Results { number, ran_under, measurements };
            let wire = v1::Results::from(results.clone());
            prop_assert_eq!(Results::try_from(wire).unwrap(), results);
        }

        #[test]
        fn rows_survive_the_round_trip(
            worker: u16,
            round: u32,
            is_open: bool,
            orders in proptest::collection::vec(order(), 0..40),
        ) {
            let rows = orders.into_iter().map(|order| match is_open {
                true => order,
                false => Order { due_ns: None, ..order },
            });
            let assign = Assign { worker, round, rows: rows.collect(), parameters: Bytes::from_static(b"\0") };
            let wire = v1::Assign::from(assign.clone());
            prop_assert_eq!(Assign::try_from(wire).unwrap(), assign);
        }
    }

    fn one_result() -> v1::Results {
        let sample = Sample {
            start_ns: 5,
            service_time_ns: 1_000,
            outcome: Outcome::Completed(Answer { rows: 1, bytes: 8, digest: 42 }),
            ..Sample::zero(RowId::new(7))
        };
        Results { number: 1, ran_under: None, measurements: vec![(0, sample)] }.into()
    }

    #[test]
    fn the_error_names_a_column_of_another_length() {
        let mut wire = one_result();
        let service_time = wire.column.iter_mut().find(|column| column.value == [1_000]).unwrap();
        service_time.value.push(2_000);
        let error = Results::try_from(wire).unwrap_err();
        assert_eq!(error.to_string(), "field 'results.service_time_ns' has 2 entries, but 1 were expected");
    }

    #[test]
    fn a_missing_or_additional_column_is_refused() {
        let mut wire = one_result();
        let last = wire.column.pop().unwrap();
        assert!(Results::try_from(wire.clone()).is_err());
        wire.column.extend([last.clone(), last]);
        assert!(Results::try_from(wire).is_err());
    }

    #[test]
    fn a_failure_with_an_invalid_index_is_refused() {
        let failure = vec![v1::Failure { index: 1, sqlstate: "22007".into(), ..v1::Failure::default() }];
        let error = Results::try_from(v1::Results { failure, ..one_result() }).unwrap_err();
        assert_eq!(error.to_string(), "field 'failure.index' has the value '1', which is out of range");
    }

    #[test]
    fn two_failures_with_the_same_index_are_refused() {
        let failure = v1::Failure { index: 0, sqlstate: "22007".into(), ..v1::Failure::default() };
        let wire = v1::Results { failure: vec![failure.clone(), failure], ..one_result() };
        assert!(Results::try_from(wire).is_err());
    }

    #[test]
    fn an_invalid_sqlstate_is_refused() {
        let failure = vec![v1::Failure { index: 0, sqlstate: "22".into(), ..v1::Failure::default() }];
        let error = Results::try_from(v1::Results { failure, ..one_result() }).unwrap_err();
        assert_eq!(error.to_string(), "field 'failure.sqlstate' has the value '22', which is out of range");
    }
}
