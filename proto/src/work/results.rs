//! Results on the wire: their numbers in the columns of `muster_core::sample::columns`.

use muster_core::ids::{Epoch, RowId, SlotId};
use muster_core::outbox::Results;
use muster_core::sample::columns::{self, Column, Source, Visitor};
use muster_core::sample::{Answer, Execution, Outcome, QueryError, Sample, SqlState};
use muster_core::slots::Grant;

use super::expect;
use crate::v1;
use crate::wire::{WireError, narrow};

impl TryFrom<v1::Results> for Results {
    type Error = WireError;

    fn try_from(wire: v1::Results) -> Result<Self, WireError> {
        let count = wire.row.len();
        expect("results.worker", count, wire.worker.len())?;
        expect("results.answer_digest", count, wire.answer_digest.len())?;
        let ran_under = wire.ran_under.map(grant).transpose()?;
        let mut measurements = Vec::with_capacity(count);
        for ((worker, row), digest) in wire.worker.into_iter().zip(wire.row).zip(wire.answer_digest) {
            let sample = Sample {
                execution: Execution { round: wire.round, ..Execution::default() },
                outcome: Outcome::Completed(Answer { digest, ..Answer::default() }),
                ..Sample::zero(RowId::new(row))
            };
            measurements.push((narrow("results.worker", worker)?, sample));
        }
        for failure in wire.failure {
            let out_of_range =
                || WireError::OutOfRange { field: "failure.index", value: failure.index.to_string() };
            let (_, sample) = measurements.get_mut(failure.index as usize).ok_or_else(out_of_range)?;
            if matches!(sample.outcome, Outcome::Failed(_)) {
                return Err(out_of_range());
            }
            sample.outcome = Outcome::Failed(failure.try_into()?);
        }
        let mut decoder =
            Decoder { columns: wire.column.into_iter(), samples: &mut measurements, error: None };
        if columns::visit(&mut decoder).is_none() {
            return Err(decoder.error.unwrap_or(WireError::Missing { field: "results.column" }));
        }
        match decoder.columns.len() {
            0 => Ok(Self { number: wire.number, ran_under, measurements }),
            more => {
                Err(WireError::OutOfRange { field: "results.column", value: format!("{more} more columns") })
            }
        }
    }
}

/// Sets the columns of samples from a message.
struct Decoder<'a> {
    columns: std::vec::IntoIter<v1::Column>,
    samples: &'a mut [(u16, Sample)],
    error: Option<WireError>,
}

impl Visitor for Decoder<'_> {
    /// An empty column leaves the default, which is 0.
    fn column(
        &mut self,
        column: Column,
        _: impl Fn(&Sample) -> u64 + Copy,
        set: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        if column.source == Source::Derived {
            return Some(());
        }
        let values = self.columns.next()?.value;
        let expected = self.samples.len();
        if !values.is_empty() && values.len() != expected {
            let field = format!("results.{}", column.name).into();
            self.error = Some(WireError::Length { field, expected, found: values.len() });
            return None;
        }
        for ((_, sample), value) in self.samples.iter_mut().zip(values) {
            if set(sample, value).is_none() {
                self.error = Some(WireError::OutOfRange { field: column.name, value: value.to_string() });
                return None;
            }
        }
        Some(())
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
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let (detail, hint) = (given(wire.detail), given(wire.hint));
        Ok(Self { sqlstate, message: wire.message, detail, hint }.shortened())
    }
}

impl From<Results> for v1::Results {
    fn from(results: Results) -> Self {
        let ran_under = results
            .ran_under
            .map(|Grant { slot, epoch }| v1::RanUnder { slot: slot.get().into(), epoch: epoch.get() });
        let samples = results.measurements;
        let round = samples.first().map_or(0, |(_, sample)| sample.execution.round);
        let mut encoder = Encoder { columns: Vec::new(), samples: &samples };
        let _ = columns::visit(&mut encoder);
        let column = encoder.columns;
        let mut wire = Self { number: results.number, ran_under, round, column, ..Self::default() };
        for (index, (worker, sample)) in (0u32..).zip(samples) {
            wire.worker.push(worker.into());
            wire.row.push(sample.row.get());
            wire.answer_digest.push(match sample.outcome {
                Outcome::Completed(answer) => answer.digest,
                Outcome::Failed(QueryError { sqlstate, message, detail, hint }) => {
                    let sqlstate = sqlstate.to_string();
                    let (detail, hint) = (detail.unwrap_or_default(), hint.unwrap_or_default());
                    wire.failure.push(v1::Failure { index, sqlstate, message, detail, hint });
                    0
                }
            });
        }
        wire
    }
}

/// Copies the columns of samples into a message. Never ends the visit.
struct Encoder<'a> {
    columns: Vec<v1::Column>,
    samples: &'a [(u16, Sample)],
}

impl Visitor for Encoder<'_> {
    fn column(
        &mut self,
        column: Column,
        get: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        if column.source != Source::Derived {
            let values = self.samples.iter().map(|(_, sample)| get(sample));
            let is_zero = values.clone().all(|value| value == 0);
            self.columns.push(v1::Column { value: if is_zero { Vec::new() } else { values.collect() } });
        }
        Some(())
    }
}
