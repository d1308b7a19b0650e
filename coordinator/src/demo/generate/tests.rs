//! Tests of the generator: its output never changes and stays within the shape.

use std::collections::HashSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;

fn samples_csv(shape: &Shape) -> Vec<u8> {
    let mut out = Vec::new();
    write_samples(Samples::try_new(shape).unwrap(), &mut out).unwrap();
    out
}

fn windows_csv(shape: &Shape, queries: &Windows) -> Vec<u8> {
    let mut out = Vec::new();
    write_windows(windows(shape, queries).unwrap(), &mut out).unwrap();
    out
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These hashes must never change: everyone who generates the demo's data must get the same rows and queries.
#[test]
fn the_default_files_never_change() {
    let shape = Shape::default();
    assert_eq!(
        sha256(&samples_csv(&shape)),
        "26c801fa5402a1de08e076dc92d7c3f48034f0e1e5716c356f77c34d646102e8"
    );
    assert_eq!(
        sha256(&windows_csv(&shape, &Windows::default())),
        "115b6751ef89809bc88d24392ae3caeb45f58e3fc614d943f23cb1b7d043e714"
    );
}

#[test]
fn the_committed_queries_equal_the_generated_ones() {
    let committed = include_bytes!("../../../../data/query_params.csv");
    let generated = windows_csv(&Shape::default(), &Windows::default());
    assert!(committed == generated.as_slice(), "regenerate data/query_params.csv: coordinator generate");
}

#[test]
fn the_demo_has_345_600_rows_ordered_by_time() {
    let samples = Samples::try_new(&Shape::default()).unwrap();
    assert_eq!(samples.rows(), 345_600);
    let all: Vec<Sample> = samples.collect();
    assert_eq!(all.len(), 345_600);
    assert!(all.is_sorted_by_key(|sample| (sample.ts_us, sample.host)));
    assert!(all.iter().all(|sample| (0.0..=100.0).contains(&sample.usage())));
    let text = String::from_utf8(samples_csv(&Shape::default())).unwrap();
    assert!(text.starts_with("ts,host,usage\n2017-01-01 00:00:00,host_000000,"));
    assert!(text.lines().last().unwrap().starts_with("2017-01-02 23:59:50,host_000019,"));
}

#[test]
fn the_number_of_remaining_rows_is_known_after_every_row() {
    let shape =
        Shape { hosts: 3, step: Duration::from_secs(7), span: Duration::from_secs(30), ..Shape::default() };
    let mut samples = Samples::try_new(&shape).unwrap();
    for left in (0..=15).rev() {
        assert_eq!(samples.rows(), left);
        assert_eq!(samples.next().is_some(), left > 0);
        if left == 0 {
            return;
        }
    }
}

#[test]
fn usage_changes_in_small_steps_and_covers_a_wide_range() {
    let usage: Vec<f64> =
        Samples::try_new(&Shape::default()).unwrap().filter(|s| s.host == 3).map(|s| s.usage()).collect();
    let steps: Vec<f64> = usage.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let deviation = (steps.iter().map(|step| step * step).sum::<f64>() / steps.len() as f64).sqrt();
    assert!((0.9..1.1).contains(&deviation), "{deviation}");
    let range = usage.iter().fold((100.0f64, 0.0f64), |(low, high), &x| (low.min(x), high.max(x)));
    assert!(range.1 - range.0 > 50.0, "{range:?}");
}

#[test]
fn a_usage_in_the_csv_file_parses_to_the_same_number() {
    let shape = Shape { span: Duration::from_secs(600), ..Shape::default() };
    let text = String::from_utf8(samples_csv(&shape)).unwrap();
    let read = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap());
    for (text, sample) in read.zip(Samples::try_new(&shape).unwrap()) {
        assert_eq!(text.parse::<f64>().unwrap(), sample.usage());
        assert_eq!(text.split('.').nth(1).map(str::len), Some(2), "{text}");
    }
}

#[test]
fn a_hosts_samples_do_not_depend_on_the_number_of_hosts() {
    let of_host_2 = |hosts| -> Vec<Sample> {
        let shape = Shape { hosts, span: Duration::from_secs(300), ..Shape::default() };
        Samples::try_new(&shape).unwrap().filter(|sample| sample.host == 2).collect()
    };
    assert_eq!(of_host_2(3), of_host_2(50));
}

#[test]
fn another_seed_gives_other_data() {
    let shape = Shape { span: Duration::from_secs(300), ..Shape::default() };
    assert_ne!(samples_csv(&shape), samples_csv(&Shape { seed: 2, ..shape }));
    let queries = Windows { window: Duration::from_secs(60), ..Windows::default() };
    assert_ne!(windows_csv(&shape, &queries), windows_csv(&shape, &Windows { seed: 2, ..queries }));
}

#[test]
fn windows_are_within_the_data_and_use_each_chosen_host() {
    let shape = Shape::default();
    let all: Vec<Window> = windows(&shape, &Windows::default()).unwrap().collect();
    let (first, last) = (shape.start.as_second(), shape.start.as_second() + 48 * 3_600);
    assert!(all.iter().all(|w| first <= w.start && w.end == w.start + 3_600 && w.end <= last));
    let hosts: HashSet<u32> = all.iter().map(|w| w.host).collect();
    assert_eq!((all.len(), hosts.len()), (200, 10));
    assert!(hosts.iter().all(|&host| host < 20));
    assert!(!all.is_sorted_by_key(|w| w.start));
}

#[test]
fn an_invalid_shape_or_query_is_refused_with_a_reason() {
    let shape = Shape::default();
    let queries = Windows::default();
    let bad_shape = |shape: Shape, expected: &str| {
        assert_eq!(Samples::try_new(&shape).err().unwrap().to_string(), expected);
        assert_eq!(windows(&shape, &queries).err().unwrap().to_string(), expected);
    };
    let seconds = Duration::from_secs;
    bad_shape(Shape { hosts: 0, ..shape }, "cannot generate data for 0 hosts; choose 1 to 10000000");
    bad_shape(
        Shape { hosts: u32::MAX, ..shape },
        "cannot generate data for 4294967295 hosts; choose 1 to 10000000",
    );
    bad_shape(
        Shape { step: seconds(0), ..shape },
        "step 0ns is not a whole number of seconds greater than 0",
    );
    bad_shape(
        Shape { span: Duration::from_millis(1_500), ..shape },
        "span 1.5s is not a whole number of seconds greater than 0",
    );
    bad_shape(
        Shape { step: seconds(60), span: seconds(59), ..shape },
        "step of 60 s is longer than the span of 59 s; each host would have at most one sample",
    );
    bad_shape(
        Shape { span: seconds(u64::MAX), ..shape },
        "a span of 18446744073709551615 s from 2017-01-01T00:00:00Z is not in whole seconds within the years 1 to 9999; \
         choose another start or a shorter span",
    );
    let bad_queries = |queries: Windows, expected: &str| {
        assert_eq!(windows(&shape, &queries).err().unwrap().to_string(), expected);
    };
    bad_queries(Windows { rows: 0, ..queries }, "cannot generate 0 queries; choose at least 1");
    bad_queries(
        Windows { hosts: 21, ..queries },
        "cannot query 21 hosts of data with 20 hosts; choose 1 to 20",
    );
    bad_queries(
        Windows { window: seconds(172_800), ..queries },
        "window of 172800 s does not fit into the span of 172800 s; shorten the window or lengthen the span",
    );
}
