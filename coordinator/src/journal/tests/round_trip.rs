//! Encoding round trips, the byte layout and the size of records.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use muster_core::ids::{Epoch, RowId};
use muster_core::limits::{JOURNAL_RECORD_BYTES_MAX, JOURNAL_RECORD_ROWS_MAX, MESSAGE_CHARS_MAX};
use muster_core::sample::{Answer, Execution, Lag, Outcome, QueryError, Sample, SqlState};
use proptest::prelude::*;
use serde_json::json;

use super::super::format::HEADER_BYTES;
use super::super::{CountedSample, Entry, Reader, Tail, Writer};
use super::{completed, failed, journal, read, some_entries, temporary_path};
use crate::workload::HostIndex;

fn outcome() -> impl Strategy<Value = Outcome> {
    let answer = any::<[u64; 3]>().prop_map(|[rows, bytes, digest]| Answer { rows, bytes, digest });
    let advice = || proptest::option::of("\\PC{1,40}");
    let error = ("[0-9A-Z]{5}", prop_oneof![Just("timed out".to_owned()), "\\PC{0,40}"], advice(), advice());
    let error = error.prop_map(|(code, message, detail, hint)| {
        let sqlstate = SqlState::try_new(&code).unwrap();
        QueryError { sqlstate, message, detail, hint }
    });
    prop_oneof![3 => answer.prop_map(Outcome::Completed), 1 => error.prop_map(Outcome::Failed)]
}

fn any_sample() -> impl Strategy<Value = CountedSample> {
    (any::<[u32; 5]>(), any::<u16>(), any::<[u64; 4]>(), outcome()).prop_map(
        |(
            [row, host, worker, attempt, execution],
            statement,
            [start_ns, queueing_ns, generator_delay_ns, service_time_ns],
            outcome,
        )| CountedSample {
            host: HostIndex::new(host),
            worker,
            attempt,
            sample: Sample {
                start_ns,
                lag: Lag { queueing_ns, generator_delay_ns },
                service_time_ns,
                execution: Execution { round: 0, statement, number: execution },
                outcome,
                ..Sample::zero(RowId::new(row))
            },
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let epoch = any::<u64>().prop_map(Epoch::new);
    let samples = prop::collection::vec(any_sample(), 1..20);
    let rows = prop::collection::vec(any::<u32>().prop_map(RowId::new), 1..20);
    prop_oneof![
        (epoch.clone(), samples).prop_map(|(epoch, samples)| Entry::Results { epoch, samples }),
        (epoch, any::<u32>(), rows).prop_map(|(epoch, worker, rows)| Entry::Sent { epoch, worker, rows }),
        any::<u64>().prop_map(|number| Entry::Fact(number.to_string().into_bytes())),
    ]
}

proptest! {
    #[test]
    fn entries_round_trip_in_order(entries in prop::collection::vec(entry(), 0..10)) {
        prop_assert_eq!(read(&journal(&entries)).unwrap(), (entries, Tail::Clean));
    }
}

/// Later programs must read journals of this format version that earlier programs wrote.
#[test]
fn the_bytes_are_those_of_version_3() {
    let expected: [&[u8]; 6] = [
        b"MSTRJRNL\x03\0\0\08\xa3_\xf6",
        b"!\0\0\0\x9ch\xc6i\x03{\"granted\":{\"epoch\":7,\"slot\":0}}",
        b"\x08\0\0\0\0G\xf3\xb6\x02\x03\x07\x01\x04\0\x03\x02",
        b"d\0\0\0A\xdd8\x02\x01\x04\x07\x02\0\x04\x02\x03\0\x02\x04\x05\x03\0\x02\0\x01\x03\x01\x01\x01\0\x01\x01\0\xa0\x82\x81\x86\xe3h\
          \0\xc0\x84=\xa0\xc2\x1e\xbf\x84=\x01\0\x01\0\0\xaf\x92L\x9e\xa0[\x96\xe7B\xa6\xd9s\x02\x01\n57014timed out\0\0\
          \x01<\0\xa2\x0b\xa3\x0b*\xf8\x94\xfer\xf3n<?t\xdf},m\xa6\xda",
        b"$\0\0\0\xa9(Pf\x01\x01\xac\x02\t\x01\t\x01\x01\x01\x01\x01\0\x01\x90\xea\xeb\x86\xe3h\x01\0\x01\0\x01\xf4\x82a\x01\0\
          \x0157014",
        b"\x05\0\0\0\xca\x17XQ\x03null",
    ];
    let expected = expected.concat();
    assert_eq!(journal(&some_entries()).escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(read(&expected).unwrap(), (some_entries(), Tail::Clean));
}

#[test]
fn a_batch_takes_less_than_thirty_bytes_per_row() {
    let samples: Vec<CountedSample> = (0..256).map(|row| completed(row * 17)).collect();
    let bytes = journal(&[Entry::Results { epoch: Epoch::new(9), samples }]).len() - HEADER_BYTES;
    assert!(bytes < 256 * 30, "{} bytes per row", bytes / 256);
}

#[test]
fn batches_larger_than_a_record_are_split() {
    let samples: Vec<CountedSample> = (0..600).map(completed).collect();
    let rows: Vec<RowId> = (0..257).map(RowId::new).collect();
    let (epoch, worker) = (Epoch::new(1), 0);
    let bytes = journal(&[
        Entry::Results { epoch, samples: samples.clone() },
        Entry::Sent { epoch, worker, rows: rows.clone() },
    ]);
    let (entries, tail) = read(&bytes).unwrap();
    let results = samples.chunks(JOURNAL_RECORD_ROWS_MAX).map(<[CountedSample]>::to_vec);
    let sent = rows.chunks(JOURNAL_RECORD_ROWS_MAX).map(<[RowId]>::to_vec);
    let expected: Vec<Entry> = results
        .map(|samples| Entry::Results { epoch, samples })
        .chain(sent.map(|rows| Entry::Sent { epoch, worker, rows }))
        .collect();
    assert_eq!((entries, tail), (expected, Tail::Clean));
}

#[test]
fn messages_of_maximum_length_fit_and_longer_ones_are_truncated() {
    let long = |row| failed(row, &format!("{row}{}", "\u{10ffff}".repeat(MESSAGE_CHARS_MAX + 9)));
    let samples: Vec<CountedSample> = (0..256).map(long).collect();
    let (entries, tail) = read(&journal(&[Entry::Results { epoch: Epoch::new(1), samples }])).unwrap();
    assert_eq!((entries.len(), tail), (1, Tail::Clean));
    let Entry::Results { samples, .. } = &entries[0] else { panic!("{:?}", entries[0]) };
    let Outcome::Failed(error) = &samples[255].sample.outcome else { panic!("{:?}", samples[255]) };
    assert_eq!(error.message.chars().count(), MESSAGE_CHARS_MAX);
}

#[test]
fn an_event_that_exceeds_the_limit_is_refused_and_the_next_one_is_written() {
    let (_directory, path) = temporary_path();
    let mut writer = Writer::create(&path).unwrap();
    let error = writer.fact(&"x".repeat(JOURNAL_RECORD_BYTES_MAX)).unwrap_err();
    assert_eq!(error.to_string(), "a journal event of 16777219 bytes exceeds the limit of 16777216 bytes");
    writer.fact(&json!({"next": true})).unwrap();
    writer.commit().unwrap();
    assert_eq!(read(&fs::read(path).unwrap()).unwrap().0, [Entry::Fact(br#"{"next":true}"#.to_vec())]);
}

#[test]
fn samples_are_counted_without_decoding_them() {
    let bytes = journal(&some_entries());
    let mut reader = Reader::over(Cursor::new(&bytes), bytes.len() as u64, Path::new("journal")).unwrap();
    assert_eq!(reader.count_samples().unwrap(), 5);
    assert_eq!((reader.tail(), reader.end()), (Some(Tail::Clean), bytes.len() as u64));
}
