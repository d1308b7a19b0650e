//! Valid files: the CSV variants that spreadsheets, shells and databases write.

use super::*;

const PLAIN: &str = "hostname,start_time,end_time\n\
    host_000008,2017-01-01 08:59:22,2017-01-01 09:59:22\n\
    host_000001,2017-01-02 13:02:02,2017-01-02 14:02:02\n";

fn expected() -> Vec<Row> {
    let row = |host: &str, start: &str, end: &str| {
        let values = [host, start, end].map(|value| Some(value.to_owned()));
        (host.to_owned(), values.to_vec())
    };
    vec![
        row("host_000008", "2017-01-01 08:59:22", "2017-01-01 09:59:22"),
        row("host_000001", "2017-01-02 13:02:02", "2017-01-02 14:02:02"),
    ]
}

fn check(content: impl AsRef<[u8]>) {
    let content = content.as_ref();
    let shown = String::from_utf8_lossy(content).into_owned();
    let workload = open_bytes(content, &demo()).unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(rows(workload), expected(), "{shown}");
}

#[test]
fn all_variants_of_csv_give_the_same_rows() {
    check(PLAIN);
    check(PLAIN.trim_end());
    check(format!("\u{feff}{PLAIN}"));
    check(format!("\u{feff}\u{feff}{PLAIN}"));
    check(PLAIN.replace('\n', "\r"));
    check(PLAIN.replace('\n', "\r\n"));
    check(format!("\u{feff}{}", PLAIN.replace('\n', "\r\n").trim_end()));
    check(PLAIN.replace('\n', "\n\n\r\n\n"));
    check(format!("\n\r\n{PLAIN}\n\n"));
    check(PLAIN.replace("host_000008", "\"host_000008\"").replace("hostname,", "\"hostname\","));
}

#[test]
fn any_column_order_and_extra_columns_are_accepted() {
    check(
        "note,end_time,hostname,extra,start_time\n\
         \"a, \"\"quoted\"\"\nnote\",2017-01-01 09:59:22,host_000008,,2017-01-01 08:59:22\n\
         ,2017-01-02 14:02:02,host_000001,x,2017-01-02 13:02:02\n",
    );
}

#[test]
fn extra_columns_may_hold_invalid_text() {
    let mut content = b"hostname,start_time,end_time,blob\n".to_vec();
    content.extend(b"host_000008,2017-01-01 08:59:22,2017-01-01 09:59:22,\xff\xfe\n");
    content.extend(b"host_000001,2017-01-02 13:02:02,2017-01-02 14:02:02,\0\n");
    check(content);
}

#[test]
fn sql_in_a_hostname_is_data() {
    let host = "'; DROP TABLE cpu_usage; --";
    let workload =
        open_bytes(format!("hostname\n{host}\n"), &custom_query("hostname", &["hostname"])).unwrap();
    assert_eq!(rows(workload), [(host.to_owned(), vec![Some(host.to_owned())])]);
}

#[test]
fn an_empty_field_is_null_and_a_column_may_be_used_twice() {
    let options = custom_query("host", &["b", "a", "b"]);
    let workload = open_bytes("host,a,b\nh,,2\nh,\"\",é\n", &options).unwrap();
    let row = |b: &str| ("h".to_owned(), vec![Some(b.to_owned()), None, Some(b.to_owned())]);
    assert_eq!(rows(workload), [row("2"), row("é")]);
}

#[test]
fn a_window_whose_end_equals_its_start_is_accepted() {
    let row = "h,2017-01-01 10:00:00+02,2017-01-01T08:00:00Z";
    let workload = open_bytes(format!("hostname,start_time,end_time\n{row}\n"), &demo()).unwrap();
    assert_eq!(workload.rows(), 1);
}

#[test]
fn hosts_are_counted_and_the_file_is_hashed() {
    let workload = open_bytes("hostname\nb\na\nb\n", &custom_query("hostname", &[])).unwrap();
    let hosts: Vec<_> = workload.hosts().iter().map(|(_, name, rows)| (name, rows)).collect();
    assert_eq!(hosts, [("b", 2), ("a", 1)]);
    assert_eq!(workload.host_of(RowId::new(1)), Some(HostIndex::new(1)));
    // printf 'hostname\nb\na\nb\n' | sha256sum
    assert_eq!(workload.sha256(), "1bc439a741ab1904c99fc3f12e48de148ccd7c9c7396992065ae68d25c0c432b");
}

#[test]
fn a_limit_reads_the_first_rows_and_still_hashes_the_whole_file() {
    let content = format!("hostname\n{}\"never closed", "h\n".repeat(300_000));
    let all = open_bytes(content.replace('"', ""), &custom_query("hostname", &[])).unwrap();
    let limited = Options { limit: Some(2), ..custom_query("hostname", &[]) };
    let some = open_bytes(content.replace('"', ""), &limited).unwrap();
    assert_eq!((some.rows(), all.rows()), (2, 300_001));
    assert_eq!(some.sha256(), all.sha256());
    assert_eq!(open_bytes(content, &limited).unwrap().rows(), 2);
}

#[test]
fn input_that_cannot_be_read_twice_is_spooled() {
    let mut calls = 0;
    let mut progress = |progress: Progress| {
        calls += 1;
        assert_eq!((progress.bytes_total, progress.rows), (None, 0));
    };
    let source = source::Source::spool("-".to_owned(), PLAIN.as_bytes(), &mut progress).unwrap();
    let workload = index::read(source, &demo(), &mut |_| {}).unwrap();
    assert_eq!((workload.file(), calls), ("-", 1));
    assert_eq!(rows(workload), expected());
}

#[test]
fn a_named_pipe_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, PLAIN).unwrap()
    });
    let workload = open(&pipe, &demo(), &mut |_| {}).unwrap();
    writer.join().unwrap();
    assert_eq!(rows(workload), expected());
}

#[test]
fn progress_counts_bytes_and_rows() {
    let file = file(format!("hostname\n{}", "h\n".repeat(400_000)));
    let mut seen = Vec::new();
    open(file.path(), &custom_query("hostname", &[]), &mut |progress| seen.push(progress)).unwrap();
    assert!(seen.len() > 2 && seen.is_sorted_by_key(|progress| (progress.bytes, progress.rows)));
    assert!(seen.iter().all(|progress| progress.bytes_total == Some(800_009)));
}
