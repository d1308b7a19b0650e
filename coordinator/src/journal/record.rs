//! Encodes and decodes record payloads. Numbers are LEB128 in columns, so a sample takes about twenty bytes.
//!
//! - `Results`: number of samples; epoch; the columns row, host, worker, attempt, statement, execution, start, queueing, generator delay
//!   and service time; the failures; for the completed samples, the columns rows and bytes, and an 8-byte digest each.
//! - Failure: the number of samples since the previous failure; then either 0, if the error equals the previous one, or the length of
//!   the message + 1, the 5 bytes of the SQLSTATE and the message. The message may contain the server's detail and hint, each after a
//!   zero byte.
//! - `Sent`: number of rows, epoch, worker, the column of rows.
//! - `Fact`: JSON.

use muster_common::ids::{Epoch, RowId};
use muster_common::limits::{ADVICE_CHARS_MAX, JOURNAL_RECORD_ROWS_MAX, MESSAGE_CHARS_MAX};
use muster_common::measurement::{Answer, Lag, Outcome, QueryError, SqlState};

use super::columns::{Bytes, put, put_column, put_deltas};
use super::format::Fault;
use crate::workload::HostIndex;

pub(super) const RESULTS: u8 = 1;
pub(super) const SENT: u8 = 2;
pub(super) const FACT: u8 = 3;

/// A character has at most 4 bytes. Checked when reading, because one message may be copied to a whole batch of failures.
const MESSAGE_BYTES_MAX: usize = (MESSAGE_CHARS_MAX + 2 * ADVICE_CHARS_MAX) * 4 + 2;
/// PostgreSQL text never contains this character.
const SEPARATOR: char = '\0';

/// The counted result of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub row: RowId,
    pub host: HostIndex,
    /// Position in the placement's list of workers.
    pub worker: u32,
    /// From 1. Greater than 1 if earlier sessions that held the row were lost.
    pub attempt: u32,
    /// Position among the run's statements.
    pub statement: u16,
    /// Ordinal of this execution among those of its statement on its connection, from 1; 0 if unknown.
    pub execution: u32,
    /// When the query started, in nanoseconds since the start of the run.
    pub start_ns: u64,
    pub lag: Lag,
    pub service_time_ns: u64,
    pub outcome: Outcome,
}

/// One decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Counted rows of one session, 1 to [`JOURNAL_RECORD_ROWS_MAX`].
    Results { epoch: Epoch, samples: Vec<Sample> },
    /// Rows that were about to be sent, so they may have run. `worker` is a position in the placement's list of workers.
    Sent { epoch: Epoch, worker: u32, rows: Vec<RowId> },
    /// A run event as JSON. The journal does not interpret it.
    Fact(Vec<u8>),
}

// -- encoding ----------------------------------------------------------------------------------------------------------

pub(super) fn put_results(out: &mut Vec<u8>, epoch: Epoch, samples: &[Sample]) {
    put(out, samples.len() as u64);
    put(out, epoch.get());
    put_deltas(out, samples.iter().map(|sample| sample.row.get().into()));
    put_column(out, samples.iter().map(|sample| sample.host.get().into()));
    put_column(out, samples.iter().map(|sample| sample.worker.into()));
    put_column(out, samples.iter().map(|sample| sample.attempt.into()));
    put_column(out, samples.iter().map(|sample| sample.statement.into()));
    put_deltas(out, samples.iter().map(|sample| sample.execution.into()));
    put_deltas(out, samples.iter().map(|sample| sample.start_ns));
    put_column(out, samples.iter().map(|sample| sample.lag.queueing_ns));
    put_column(out, samples.iter().map(|sample| sample.lag.generator_delay_ns));
    put_column(out, samples.iter().map(|sample| sample.service_time_ns));
    put_failures(out, samples);
    let answers = samples.iter().filter_map(|sample| match &sample.outcome {
        Outcome::Completed(answer) => Some(*answer),
        Outcome::Failed(_) => None,
    });
    put_column(out, answers.clone().map(|answer| answer.rows));
    put_column(out, answers.clone().map(|answer| answer.bytes));
    for answer in answers {
        out.extend(answer.digest.to_le_bytes());
    }
}

fn put_failures(out: &mut Vec<u8>, samples: &[Sample]) {
    let failures = samples.iter().enumerate().filter_map(|(position, sample)| match &sample.outcome {
        Outcome::Completed(_) => None,
        Outcome::Failed(error) => Some((position, error)),
    });
    put(out, failures.clone().count() as u64);
    let mut next = 0;
    let mut previous: Option<&QueryError> = None;
    for (position, error) in failures {
        put(out, (position - next) as u64);
        next = position + 1;
        if previous == Some(error) {
            put(out, 0);
        } else {
            let message = texts(error);
            put(out, message.len() as u64 + 1);
            out.extend(error.sqlstate.as_str().as_bytes());
            out.extend(message.as_bytes());
            previous = Some(error);
        }
    }
}

/// Message, detail and hint, each shortened to the limit for agents and joined by [`SEPARATOR`].
fn texts(error: &QueryError) -> String {
    let QueryError { sqlstate: _, message, detail, hint } = error.clone().shortened();
    if detail.is_none() && hint.is_none() {
        return message;
    }
    [message, detail.unwrap_or_default(), hint.unwrap_or_default()].join(&SEPARATOR.to_string())
}

/// Parses the output of [`texts`]. Returns `None` if a text is longer than the writer allows.
fn error(sqlstate: SqlState, texts: &str) -> Option<QueryError> {
    let mut texts = texts.split(SEPARATOR).map(str::to_owned);
    let message = texts.next().unwrap_or_default();
    let mut advice = || texts.next().filter(|text| !text.is_empty());
    let error = QueryError { sqlstate, message, detail: advice(), hint: advice() };
    let is_valid = texts.next().is_none() && error.clone().shortened() == error;
    is_valid.then_some(error)
}

pub(super) fn put_sent(out: &mut Vec<u8>, epoch: Epoch, worker: u32, rows: &[RowId]) {
    put(out, rows.len() as u64);
    put(out, epoch.get());
    put(out, worker.into());
    put_deltas(out, rows.iter().map(|row| row.get().into()));
}

// -- decoding ----------------------------------------------------------------------------------------------------------

impl Entry {
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, Fault> {
        let mut bytes = Bytes::new(payload);
        let entry = match kind {
            RESULTS => results(&mut bytes),
            SENT => sent(&mut bytes),
            FACT => bytes.take(payload.len()).map(|json| Self::Fact(json.to_owned())),
            unknown => return Err(Fault::Kind(unknown)),
        };
        entry.filter(|_| bytes.is_empty()).ok_or(Fault::Content(kind))
    }
}

/// Returns the number of samples in a `Results` payload without decoding them.
pub(super) fn count_of_results(payload: &[u8]) -> Result<u64, Fault> {
    let count = count(&mut Bytes::new(payload)).ok_or(Fault::Content(RESULTS))?;
    Ok(count as u64)
}

/// Reads the number of items and checks it before memory is allocated for them.
fn count(bytes: &mut Bytes<'_>) -> Option<usize> {
    bytes.narrow().filter(|count| (1..=JOURNAL_RECORD_ROWS_MAX).contains(count))
}

fn results(bytes: &mut Bytes<'_>) -> Option<Entry> {
    let count = count(bytes)?;
    let epoch = Epoch::new(bytes.number()?);
    let empty = Sample {
        row: RowId::new(0),
        host: HostIndex::new(0),
        worker: 0,
        attempt: 0,
        statement: 0,
        execution: 0,
        start_ns: 0,
        lag: Lag::default(),
        service_time_ns: 0,
        outcome: Outcome::Completed(Answer::default()),
    };
    let mut samples = vec![empty; count];
    bytes.deltas(count, |i, row| samples[i].row = RowId::new(row))?;
    bytes.column(count, |i, host| samples[i].host = HostIndex::new(host))?;
    bytes.column(count, |i, worker| samples[i].worker = worker)?;
    bytes.column(count, |i, attempt| samples[i].attempt = attempt)?;
    bytes.column(count, |i, statement| samples[i].statement = statement)?;
    bytes.deltas(count, |i, execution| samples[i].execution = execution)?;
    bytes.deltas(count, |i, start_ns| samples[i].start_ns = start_ns)?;
    bytes.column(count, |i, queueing_ns| samples[i].lag.queueing_ns = queueing_ns)?;
    bytes.column(count, |i, delay_ns| samples[i].lag.generator_delay_ns = delay_ns)?;
    bytes.column(count, |i, service_time_ns| samples[i].service_time_ns = service_time_ns)?;
    failures(bytes, &mut samples)?;
    answers(bytes, &mut samples)?;
    Some(Entry::Results { epoch, samples })
}

fn failures(bytes: &mut Bytes<'_>, samples: &mut [Sample]) -> Option<()> {
    let count: usize = bytes.narrow()?;
    let mut rest = samples;
    let mut previous: Option<QueryError> = None;
    for _ in 0..count {
        let skipped = bytes.narrow()?;
        let (failed, further) = rest.get_mut(skipped..)?.split_first_mut()?;
        rest = further;
        let error = match bytes.narrow::<usize>()?.checked_sub(1) {
            None => previous.clone()?,
            Some(length) if length > MESSAGE_BYTES_MAX => return None,
            Some(length) => {
                let sqlstate = std::str::from_utf8(bytes.take(5)?).ok()?;
                let texts = std::str::from_utf8(bytes.take(length)?).ok()?;
                error(SqlState::try_new(sqlstate).ok()?, texts)?
            }
        };
        failed.outcome = Outcome::Failed(error.clone());
        previous = Some(error);
    }
    Some(())
}

fn answers(bytes: &mut Bytes<'_>, samples: &mut [Sample]) -> Option<()> {
    let mut answers: Vec<&mut Answer> = samples
        .iter_mut()
        .filter_map(|sample| match &mut sample.outcome {
            Outcome::Completed(answer) => Some(answer),
            Outcome::Failed(_) => None,
        })
        .collect();
    bytes.column(answers.len(), |i, rows| answers[i].rows = rows)?;
    bytes.column(answers.len(), |i, length| answers[i].bytes = length)?;
    for answer in answers {
        answer.digest = u64::from_le_bytes(bytes.array()?);
    }
    Some(())
}

fn sent(bytes: &mut Bytes<'_>) -> Option<Entry> {
    let count = count(bytes)?;
    let epoch = Epoch::new(bytes.number()?);
    let worker = bytes.narrow()?;
    let mut rows = Vec::with_capacity(count);
    bytes.deltas(count, |_, row| rows.push(RowId::new(row)))?;
    Some(Entry::Sent { epoch, worker, rows })
}
