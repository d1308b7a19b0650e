//! Encodes and decodes record payloads. Numbers are LEB128 in columns, so a sample takes about twenty bytes.
//!
//! - `Results`: number of samples; epoch; the columns row, host, worker and attempt, and the measured ones of [`columns::visit`]; the
//!   failures; for the completed samples, the columns of their answers, and an 8-byte digest each.
//! - Failure: the number of samples since the previous failure; then either 0, if the error equals the previous one, or the length of
//!   the message + 1, the 5 bytes of the SQLSTATE and the message. The message may contain the server's detail and hint, each after a
//!   zero byte.
//! - `Sent`: number of rows, epoch, worker, the column of rows.
//! - `Fact`: JSON.

use muster_core::ids::{Epoch, RowId};
use muster_core::limits::{ADVICE_CHARS_MAX, JOURNAL_RECORD_ROWS_MAX, MESSAGE_CHARS_MAX};
use muster_core::sample::columns::{self, Column, Source, Visitor};
use muster_core::sample::{Outcome, QueryError, Sample, SqlState};

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

/// The counted sample of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSample {
    pub host: HostIndex,
    /// Position in the placement's list of workers.
    pub worker: u32,
    /// From 1. Greater than 1 if earlier sessions that held the row were lost.
    pub attempt: u32,
    pub sample: Sample,
}

/// One decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Counted rows of one session, 1 to [`JOURNAL_RECORD_ROWS_MAX`].
    Results { epoch: Epoch, samples: Vec<CountedSample> },
    /// Rows that were about to be sent, so they may have run. `worker` is a position in the placement's list of workers.
    Sent { epoch: Epoch, worker: u32, rows: Vec<RowId> },
    /// A run event as JSON. The journal does not interpret it.
    Fact(Vec<u8>),
}

// -- encoding ----------------------------------------------------------------------------------------------------------

pub(super) fn put_results(out: &mut Vec<u8>, epoch: Epoch, samples: &[CountedSample]) {
    put(out, samples.len() as u64);
    put(out, epoch.get());
    put_deltas(out, samples.iter().map(|counted| counted.sample.row.get().into()));
    put_column(out, samples.iter().map(|counted| counted.host.get().into()));
    put_column(out, samples.iter().map(|counted| counted.worker.into()));
    put_column(out, samples.iter().map(|counted| counted.attempt.into()));
    let _ = columns::visit(&mut Encoder { source: Source::Measured, out, samples });
    put_failures(out, samples);
    let _ = columns::visit(&mut Encoder { source: Source::Answer, out, samples });
    for answer in samples.iter().filter_map(|counted| counted.sample.answer()) {
        out.extend(answer.digest.to_le_bytes());
    }
}

/// Writes the columns from one source. Never ends the visit.
struct Encoder<'a> {
    source: Source,
    out: &'a mut Vec<u8>,
    samples: &'a [CountedSample],
}

impl Visitor for Encoder<'_> {
    fn column(
        &mut self,
        column: Column,
        get: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        if column.source != self.source {
            return Some(());
        }
        let has_value = |sample: &&Sample| column.source != Source::Answer || sample.answer().is_some();
        let numbers = self.samples.iter().map(|counted| &counted.sample).filter(has_value).map(get);
        match column.is_sequence {
            true => put_deltas(self.out, numbers),
            false => put_column(self.out, numbers),
        }
        Some(())
    }
}

fn put_failures(out: &mut Vec<u8>, samples: &[CountedSample]) {
    let failures =
        samples.iter().enumerate().filter_map(|(position, counted)| match &counted.sample.outcome {
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
    let empty =
        CountedSample { host: HostIndex::new(0), worker: 0, attempt: 0, sample: Sample::zero(RowId::new(0)) };
    let mut samples = vec![empty; count];
    bytes.deltas(count, |i, row| samples[i].sample.row = RowId::new(row))?;
    bytes.column(count, |i, host| samples[i].host = HostIndex::new(host))?;
    bytes.column(count, |i, worker| samples[i].worker = worker)?;
    bytes.column(count, |i, attempt| samples[i].attempt = attempt)?;
    let measured = samples.iter_mut().map(|counted| &mut counted.sample).collect();
    columns::visit(&mut Decoder { source: Source::Measured, bytes, samples: measured })?;
    failures(bytes, &mut samples)?;
    let completed = samples.iter_mut().map(|counted| &mut counted.sample);
    let completed = completed.filter(|sample| sample.answer().is_some()).collect();
    columns::visit(&mut Decoder { source: Source::Answer, bytes, samples: completed })?;
    for counted in &mut samples {
        if let Outcome::Completed(answer) = &mut counted.sample.outcome {
            answer.digest = u64::from_le_bytes(bytes.array()?);
        }
    }
    Some(Entry::Results { epoch, samples })
}

/// Reads the columns from one source into samples. A malformed column ends the visit.
struct Decoder<'a, 'b> {
    source: Source,
    bytes: &'a mut Bytes<'b>,
    samples: Vec<&'a mut Sample>,
}

impl Visitor for Decoder<'_, '_> {
    fn column(
        &mut self,
        column: Column,
        _: impl Fn(&Sample) -> u64 + Copy,
        set: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        let Self { source, bytes, samples } = self;
        if column.source != *source {
            return Some(());
        }
        let (count, mut fits) = (samples.len(), Some(()));
        let each = |position: usize, number| fits = fits.and(set(samples[position], number));
        match column.is_sequence {
            true => bytes.deltas(count, each)?,
            false => bytes.column(count, each)?,
        }
        fits
    }
}

fn failures(bytes: &mut Bytes<'_>, samples: &mut [CountedSample]) -> Option<()> {
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
        failed.sample.outcome = Outcome::Failed(error.clone());
        previous = Some(error);
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
