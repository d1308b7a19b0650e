//! The second pass: any row, in any order, as the first pass saw it or not at all.

use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn every_worker_gets_the_rows_of_its_hosts_in_file_order() {
    let workload = open_bytes("host\na\nb\nc\na\nb\na\n", &own("host", &[])).unwrap();
    let queues = workload.by_worker(&[2, 0, 2], 3);
    let ids: Vec<Vec<u32>> = queues.iter().map(|queue| queue.iter().map(|row| row.get()).collect()).collect();
    assert_eq!(ids, [vec![1, 4], vec![], vec![0, 2, 3, 5]]);
}

#[test]
fn rows_far_apart_and_backwards_come_out_of_the_same_reader() {
    let content: String = (0..20_000).map(|n| format!("h{},{n}\n", n % 7)).collect();
    let workload = Arc::new(open_bytes(format!("host,n\n{content}"), &own("host", &["n"])).unwrap());
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
    let workload = open_bytes(format!("host,v\na,{value}\nb,y\n"), &own("host", &["v"])).unwrap();
    let rows = rows(workload);
    assert_eq!(rows[0].1, [Some(value)]);
    assert_eq!(rows[1].1, [Some("y".to_owned())]);
}

#[test]
fn a_row_that_is_not_there_is_refused() {
    let workload = Arc::new(open_bytes("host\na\n", &own("host", &[])).unwrap());
    let error = read(&mut RowReader::new(Arc::clone(&workload)), &workload, RowId::new(1)).unwrap_err();
    assert!(error.to_string().ends_with("has no row 1; its rows are 0 to 0"), "{error}");
}

#[test]
fn a_file_that_changed_under_the_run_is_noticed_and_the_reader_goes_on() {
    let check = |change: &[u8]| {
        let file = file("host,v\naaa,1\nbbb,2\n");
        let workload = Arc::new(open(file.path(), &own("host", &["v"]), &mut |_| {}).unwrap());
        fs::write(file.path(), change).unwrap();
        let mut reader = RowReader::new(Arc::clone(&workload));
        let mut packed = PackedParameters::new();
        packed.push(Some("before"));
        let error = reader.read(RowId::new(1), &mut packed).unwrap_err();
        assert!(matches!(error, WorkloadError::Changed { .. }), "{error}");
        assert_eq!(Values::new(packed.as_bytes()).count(), 1, "nothing of the bad row stays");
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
}

#[test]
fn a_file_replaced_on_disk_does_no_harm() {
    let file = file("host\na\n");
    let workload = open(file.path(), &own("host", &[]), &mut |_| {}).unwrap();
    let replacement = super::file("host\nother\n");
    fs::rename(replacement.path(), file.path()).unwrap();
    assert_eq!(rows(workload)[0].0, "a");
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_is_read_back_identically(
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
        let workload = Arc::new(open_bytes(&content, &own("host", &["a", "b"])).unwrap());
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
    fn any_bytes_end_in_rows_or_one_error(bytes in prop::collection::vec(prop::sample::select(b"host,\n\r\"\0\xffa".to_vec()), 0..60)) {
        let content = [b"host,a\n", bytes.as_slice()].concat();
        let skip = Options { on_bad_row: OnBadRow::Skip, ..own("host", &["a"]) };
        if let Ok(workload) = open_bytes(&content, &skip) {
            let count = workload.rows() as usize;
            prop_assert_eq!(rows(workload).len(), count);
        }
    }
}
