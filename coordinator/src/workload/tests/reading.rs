//! Tests of the second pass: rows can be read in any order, with the values of the first pass or not at all.

use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn every_worker_gets_the_rows_of_its_hosts_in_file_order() {
    let workload = open_bytes("host\na\nb\nc\na\nb\na\n", &custom_query("host", &[])).unwrap();
    let queues = workload.by_worker(&[2, 0, 2], 3);
    let ids: Vec<Vec<u32>> = queues.iter().map(|queue| queue.iter().map(|row| row.get()).collect()).collect();
    assert_eq!(ids, [vec![1, 4], vec![], vec![0, 2, 3, 5]]);
}

#[test]
fn a_reader_reads_distant_rows_and_reads_backwards() {
    let content: String = (0..20_000).map(|n| format!("h{},{n}\n", n % 7)).collect();
    let workload = Arc::new(open_bytes(format!("host,n\n{content}"), &custom_query("host", &["n"])).unwrap());
    let mut reader = RowReader::new(Arc::clone(&workload));
    let strided = (0..20_000).step_by(997);
    for row in strided.clone().chain(strided.rev()).chain(0..20_000) {
        let (host, values) = read(&mut reader, &workload, RowId::new(row)).unwrap();
        assert_eq!((host, values), (format!("h{}", row % 7), vec![Some(row.to_string())]));
    }
}

#[test]
fn a_row_larger_than_the_window_is_read() {
    let value = "x".repeat(900_000);
    let workload = open_bytes(format!("host,v\na,{value}\nb,y\n"), &custom_query("host", &["v"])).unwrap();
    let rows = rows(workload);
    assert_eq!(rows[0].1, [Some(value)]);
    assert_eq!(rows[1].1, [Some("y".to_owned())]);
}

#[test]
fn a_row_that_does_not_exist_is_refused() {
    let workload = Arc::new(open_bytes("host\na\n", &custom_query("host", &[])).unwrap());
    let error = read(&mut RowReader::new(Arc::clone(&workload)), &workload, RowId::new(1)).unwrap_err();
    assert!(error.to_string().ends_with("has no row 1; its rows are 0 to 0"), "{error}");
}

#[test]
fn a_file_that_changed_is_detected_and_can_be_read_once_it_is_restored() {
    let check = |change: &[u8]| {
        let file = file("host,v\naaa,1\nbbb,2\n");
        let workload = Arc::new(open(file.path(), &custom_query("host", &["v"]), &mut |_| {}).unwrap());
        fs::write(file.path(), change).unwrap();
        let mut reader = RowReader::new(Arc::clone(&workload));
        let mut packed = PackedParameters::new();
        packed.push(Some("before"));
        let error = reader.read(RowId::new(1), &mut packed).unwrap_err();
        assert!(matches!(error, WorkloadError::Changed { .. }), "{error}");
        assert_eq!(Values::new(packed.as_bytes()).count(), 1, "no value of the bad row is kept");
        fs::write(file.path(), "host,v\naaa,1\nbbb,2\n").unwrap();
        let mut reader = RowReader::new(Arc::clone(&workload));
        assert_eq!(read(&mut reader, &workload, RowId::new(1)).unwrap().0, "bbb");
    };
    check(b"");
    check(b"host,v\n");
    check(b"host,v\naaa,1\n\"bb");
    check(b"host,v\naaa,1\nccc,2\n");
    check(b"host,v\naaa,1\nbbb,2,3\n");
    check(b"host,v\naaa,1\n\nbbb,2\n");
    check(b"host,v\naaa,12bbb,2\n");
    check(b"host,v\naaa,11\nbbb,2\n");
    check(b"host,v\naaa,1\nbbb,\xff\n");
    check(b"host,v\naaa,1\nbbb,3\n");
    check(b"host,v\naaa,2\nbbb,2\n");
}

#[test]
fn changed_values_of_the_same_length_are_detected_even_if_the_modification_time_is_reset() {
    let content = |digit: char| format!("host,v\n{}", format!("h,{digit}23456789\n").repeat(20_000));
    let file = file(content('1'));
    let modified = file.as_file().metadata().unwrap().modified().unwrap();
    let workload = Arc::new(open(file.path(), &custom_query("host", &["v"]), &mut |_| {}).unwrap());
    let mut reader = RowReader::new(Arc::clone(&workload));
    assert_eq!(read(&mut reader, &workload, RowId::new(0)).unwrap().1, [Some("123456789".to_owned())]);
    fs::write(file.path(), content('2')).unwrap();
    file.as_file().set_modified(modified).unwrap();
    let values: Vec<_> = (0..20_000).map(|row| read(&mut reader, &workload, RowId::new(row))).collect();
    let is_old =
        |value: &Result<Row, _>| value.as_ref().is_ok_and(|row| row.1[0].as_deref() == Some("123456789"));
    assert!(values.iter().all(|value| is_old(value) || matches!(value, Err(WorkloadError::Changed { .. }))));
    assert!(values[1_000..].iter().all(Result::is_err), "only rows in memory can still be read");
    assert!(!workload.has_changed(), "size and time are unchanged, so only the checksums detect it");
}

#[test]
fn a_file_that_was_written_to_or_replaced_is_reported() {
    let check = |change: fn(&std::path::Path), expected: bool| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("q.csv");
        fs::write(&path, "host\na\n").unwrap();
        let workload = open(&path, &custom_query("host", &[]), &mut |_| {}).unwrap();
        assert!(!workload.has_changed());
        change(&path);
        assert_eq!(workload.has_changed(), expected);
    };
    check(|path| fs::write(path, "host\na\nb\n").unwrap(), true);
    check(|path| fs::write(path, "").unwrap(), true);
    check(
        |path| {
            fs::write(path.with_extension("new"), "host\na\n").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
        true,
    );
    check(|path| fs::remove_file(path).unwrap(), false);
    check(|path| drop(fs::read(path).unwrap()), false);
}

#[test]
fn a_file_that_is_replaced_on_disk_is_still_read() {
    let file = file("host\na\n");
    let workload = open(file.path(), &custom_query("host", &[]), &mut |_| {}).unwrap();
    let replacement = super::file("host\nother\n");
    fs::rename(replacement.path(), file.path()).unwrap();
    assert_eq!(rows(workload)[0].0, "a");
}

proptest! {
    #[test]
    fn records_written_by_the_csv_crate_are_read_back_unchanged(
        records in prop::collection::vec((".{1,12}", "[a-z,\"\r\n é\u{feff}]{0,12}", any::<String>()), 1..20),
        always in any::<bool>(),
        crlf in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let clean = |text: &str| text.replace('\0', "0");
        let mut writer = csv::WriterBuilder::new()
            .quote_style(if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
            .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        writer.write_record(["a", "host", "b"]).unwrap();
        for (host, a, b) in &records {
            writer.write_record([&clean(a), &clean(host), &clean(b)]).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let workload = Arc::new(open_bytes(&content, &custom_query("host", &["a", "b"])).unwrap());
        prop_assert_eq!(workload.rows() as usize, records.len());
        let mut order: Vec<u32> = (0..workload.rows()).collect();
        order.sort_by_key(|&row| u64::from(row + 1).wrapping_mul(seed | 1));
        let mut reader = RowReader::new(Arc::clone(&workload));
        for row in order {
            let (host, a, b) = &records[row as usize];
            let value = |text: &str| Some(clean(text)).filter(|text| !text.is_empty());
            let expected = (clean(host), vec![value(a), value(b)]);
            prop_assert_eq!(read(&mut reader, &workload, RowId::new(row)).unwrap(), expected);
        }
    }

    #[test]
    fn any_bytes_give_rows_or_one_error(bytes in prop::collection::vec(prop::sample::select(b"host,\n\r\"\0\xffa".to_vec()), 0..60)) {
        let content = [b"host,a\n", bytes.as_slice()].concat();
        let skip = Options { on_bad_row: OnBadRow::Skip, ..custom_query("host", &["a"]) };
        if let Ok(workload) = open_bytes(&content, &skip) {
            let count = workload.rows() as usize;
            prop_assert_eq!(rows(workload).len(), count);
        }
    }

    #[test]
    fn rows_plus_skipped_rows_are_all_records_when_quotes_are_missing_or_added(
        records in prop::collection::vec(("[a-c]{1,3}", "[a-c ]{1,3}"), 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4), 0..5),
        quoted in any::<bool>(),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let mut lines: Vec<String> = records
            .iter()
            .map(|(host, a)| if quoted { format!("\"{host}\",\"{a}\"") } else { format!("{host},{a}") })
            .collect();
        let mut damaged = std::collections::BTreeSet::new();
        for (line, place) in damage {
            let line = line.index(lines.len());
            damaged.insert(line);
            // Adds a quote at the start of an unquoted field, or removes one of the two quotes of a field.
            lines[line] = match (quoted, place) {
                (false, _) => format!("{},\"{}", records[line].0, records[line].1),
                (true, 0 | 1) => format!("\"{}\",\"{}", records[line].0, records[line].1),
                (true, _) => format!("\"{},\"{}\"", records[line].0, records[line].1),
            };
        }
        let content = format!("host,a{end}{}", lines.join(end));
        let skip = Options { on_bad_row: OnBadRow::Skip, ..custom_query("host", &["a"]) };
        match open_bytes(&content, &skip) {
            Ok(workload) => {
                prop_assert_eq!(u64::from(workload.rows()) + workload.skipped(), records.len() as u64);
                prop_assert_eq!(workload.skipped(), damaged.len() as u64);
            }
            Err(WorkloadError::NoGoodRow { count, .. }) => prop_assert_eq!(count, records.len() as u64),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
