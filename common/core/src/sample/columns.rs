//! The numbers of a sample as columns. This is the only list of them: the messages of agents, the journal and exported files follow it.
//! A new number is a field of [`Sample`] or [`Answer`](super::Answer), an entry in [`visit`], and the code that measures it.

use super::Sample;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The heading in exported files. It contains the unit.
    pub name: &'static str,
    pub source: Source,
    /// Values of neighbours differ little, so their differences take less space than the values.
    pub is_sequence: bool,
    /// Exported as a 32-bit integer.
    pub is_short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Measured for every sample.
    Measured,
    /// Computed from measured columns, so it is only exported.
    Derived,
    /// Measured for completed queries. It is 0 for failed ones, and setting it has no effect on them.
    Answer,
}

/// Receives each column with its accessors. A setter returns `None` if the number is out of range. `None` ends the visit.
pub trait Visitor {
    fn column(
        &mut self,
        column: Column,
        get: impl Fn(&Sample) -> u64 + Copy,
        set: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()>;
}

/// Visits all columns in the order of exported files. It is a function and not a constant, so that the accessors are inlined.
pub fn visit(visitor: &mut impl Visitor) -> Option<()> {
    let column = |name| Column { name, source: Source::Measured, is_sequence: false, is_short: false };
    visitor.column(
        Column { is_short: true, ..column("statement") },
        |sample| sample.execution.statement.into(),
        |sample, number| number.try_into().ok().map(|number| sample.execution.statement = number),
    )?;
    visitor.column(
        Column { is_sequence: true, is_short: true, ..column("execution") },
        |sample| sample.execution.number.into(),
        |sample, number| number.try_into().ok().map(|number| sample.execution.number = number),
    )?;
    visitor.column(
        Column { is_sequence: true, ..column("start_ns") },
        |sample| sample.start_ns,
        |sample, number| {
            sample.start_ns = number;
            Some(())
        },
    )?;
    visitor.column(
        Column { source: Source::Derived, ..column("lag_ns") },
        |sample| sample.lag.total_ns(),
        |_, _| None,
    )?;
    visitor.column(
        column("queueing_ns"),
        |sample| sample.lag.queueing_ns,
        |sample, number| {
            sample.lag.queueing_ns = number;
            Some(())
        },
    )?;
    visitor.column(
        column("generator_delay_ns"),
        |sample| sample.lag.generator_delay_ns,
        |sample, number| {
            sample.lag.generator_delay_ns = number;
            Some(())
        },
    )?;
    visitor.column(
        column("service_time_ns"),
        |sample| sample.service_time_ns,
        |sample, number| {
            sample.service_time_ns = number;
            Some(())
        },
    )?;
    visitor.column(
        Column { source: Source::Answer, ..column("result_rows") },
        |sample| sample.answer().map_or(0, |answer| answer.rows),
        |sample, number| {
            sample.set_answer(|answer| answer.rows = number);
            Some(())
        },
    )?;
    visitor.column(
        Column { source: Source::Answer, ..column("result_bytes") },
        |sample| sample.answer().map_or(0, |answer| answer.bytes),
        |sample, number| {
            sample.set_answer(|answer| answer.bytes = number);
            Some(())
        },
    )
}
