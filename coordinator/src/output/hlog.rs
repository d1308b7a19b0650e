//! `--output hlog`: an HdrHistogram interval log (format 1.3, V2 encoding), which HdrHistogram's tools in many languages read. It has a line for each interval,
//! agent and kind of time, tagged `slot-3.service` or `slot-3.response`, with nanoseconds in histograms of 3 digits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::write;

/// The most intervals of a log.
const INTERVALS_MAX: u64 = 600;
/// The most lines of a log, each of which takes some kilobytes.
const LINES_MAX: u64 = 4_800;
/// Histograms in memory at a time. The source is read once for each group of lines.
const HISTOGRAMS_MAX: u64 = 256;

/// What a log is about.
pub(crate) struct Log {
    /// When the first query was allowed to start.
    pub(crate) started: SystemTime,
    /// From the start to the end of the last query.
    pub(crate) lasted_ns: u64,
    pub(crate) slots: u64,
    /// False in a closed loop without think time, where response times are service times.
    pub(crate) has_due_times: bool,
}

/// The times of each line, by interval, slot and kind.
type Lines = BTreeMap<(u64, u64, &'static str), Histogram<u32>>;

/// The times of one completed query.
pub(crate) struct Timed {
    pub(crate) slot: u64,
    /// Since the start of the run.
    pub(crate) ended_ns: u64,
    pub(crate) service_ns: u64,
    pub(crate) response_ns: u64,
}

impl Log {
    /// Writes the log. `read` returns all queries of the run, always the same.
    pub(crate) fn write<E, I>(&self, path: &Path, read: impl Fn() -> Result<I, E>) -> Result<(), E>
    where
        E: From<io::Error>,
        I: Iterator<Item = Result<Timed, E>>,
    {
        write::write_file(path, |file| self.write_to(file, read))
    }

    fn write_to<E, I>(&self, file: &mut File, read: impl Fn() -> Result<I, E>) -> Result<(), E>
    where
        E: From<io::Error>,
        I: Iterator<Item = Result<Timed, E>>,
    {
        let mut file = BufWriter::new(file);
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(self.started)
            .with_base_time(self.started)
            .with_max_value_divisor(1e6)
            .begin_log_with(&mut file, &mut serializer)?;
        let length_ns = self.interval_ns();
        // A place is an interval of one slot.
        let places = self.lasted_ns.div_ceil(length_ns).max(1).saturating_mul(self.slots.max(1));
        let at_once = HISTOGRAMS_MAX / self.kinds();
        for first in (0..places).step_by(usize::try_from(at_once).unwrap_or(usize::MAX)) {
            let group = first..first.saturating_add(at_once);
            for ((interval, slot, kind), times) in self.histograms(group, length_ns, read()?)? {
                let tag = format!("slot-{slot}.{kind}");
                let start = Duration::from_nanos(interval * length_ns);
                let lasted_ns = length_ns.min(self.lasted_ns.max(1) - interval * length_ns);
                let lasted = Duration::from_nanos(lasted_ns);
                let written = log.write_histogram(&times, start, lasted, Tag::new(&tag));
                written.map_err(|error| io::Error::other(format!("{error:?}")))?;
            }
        }
        drop(log);
        Ok(file.flush()?)
    }

    /// The times of these places.
    fn histograms<E>(
        &self,
        places: std::ops::Range<u64>,
        length_ns: u64,
        queries: impl Iterator<Item = Result<Timed, E>>,
    ) -> Result<Lines, E> {
        let mut histograms = Lines::new();
        for query in queries {
            let Timed { slot, ended_ns, service_ns, response_ns } = query?;
            // The last query may end exactly at the end of the last interval.
            let interval = (ended_ns / length_ns).min((self.lasted_ns.max(1) - 1) / length_ns);
            if !places.contains(&(interval * self.slots.max(1) + slot)) {
                continue;
            }
            let mut record = |kind, ns| {
                let new = || Histogram::new(3).expect("three digits are supported");
                let times = histograms.entry((interval, slot, kind)).or_insert_with(new);
                times.record(ns).expect("the histogram grows");
            };
            record("service", service_ns);
            if self.has_due_times {
                record("response", response_ns);
            }
        }
        Ok(histograms)
    }

    fn kinds(&self) -> u64 {
        if self.has_due_times { 2 } else { 1 }
    }

    fn lines_of_interval(&self) -> u64 {
        self.slots.max(1) * self.kinds()
    }

    /// The shortest length of 10 ms, 20 ms, 50 ms, 100 ms, … with which the log is not too long.
    fn interval_ns(&self) -> u64 {
        let intervals_max = (LINES_MAX / self.lines_of_interval()).clamp(1, INTERVALS_MAX);
        let powers = (7..19).map(|power| 10u64.pow(power));
        let lengths = powers.flat_map(|power| [1, 2, 5].map(|step| power.saturating_mul(step)));
        lengths
            .into_iter()
            .find(|length| self.lasted_ns.div_ceil(*length) <= intervals_max)
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    const MS: u64 = 1_000_000;

    fn log(lasted_ns: u64, slots: u64) -> Log {
        Log { started: SystemTime::UNIX_EPOCH, lasted_ns, slots, has_due_times: true }
    }

    #[test]
    fn a_log_has_every_query_in_the_interval_in_which_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.hlog");
        let queries = || {
            let timed =
                |at: u64| Timed { slot: at % 2, ended_ns: at * 15 * MS, service_ns: MS, response_ns: 2 * MS };
            Ok::<_, io::Error>((1..=1_000).map(move |at| Ok(timed(at))))
        };
        log(15_000 * MS, 2).write(&path, queries).unwrap();
        let written = std::fs::read(&path).unwrap();
        let mut counts = BTreeMap::new();
        for entry in IntervalLogIterator::new(&written) {
            let LogEntry::Interval(line) = entry.unwrap() else { continue };
            use base64::Engine;
            let bytes = base64::prelude::BASE64_STANDARD.decode(line.encoded_histogram()).unwrap();
            let times: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let tag = line.tag().unwrap().as_str().to_owned();
            let expected_ns = if tag.ends_with("service") { MS } else { 2 * MS };
            assert!(times.equivalent(times.max(), expected_ns), "{tag}: {}", times.max());
            assert!(times.len() <= 4, "50 ms contain 4 queries at most: {}", times.len());
            *counts.entry(tag).or_insert(0) += times.len();
        }
        let expected = ["slot-0.response", "slot-0.service", "slot-1.response", "slot-1.service"];
        assert_eq!(counts, expected.map(|tag| (tag.to_owned(), 500)).into());
    }

    #[test]
    fn intervals_of_long_runs_and_of_many_agents_are_longer() {
        let check = |seconds: u64, slots, expected_ms: u64| {
            assert_eq!(
                log(seconds * 1_000 * MS, slots).interval_ns(),
                expected_ms * MS,
                "{seconds} s, {slots}"
            );
        };
        check(1, 1, 10);
        check(60, 4, 100);
        check(3_600, 4, 10_000);
        check(60, 2_000, 100_000);
        assert!(log(u64::MAX, 2_000).interval_ns() > 1 << 60);
    }
}
