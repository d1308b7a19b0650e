//! Full disks, concurrent writers, locks and file permissions.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use muster_core::ids::{Epoch, RowId};
use muster_core::limits::JOURNAL_BUFFER_BYTES_MAX;
use serde_json::json;

use super::super::format::HEADER_BYTES;
use super::super::{CountedSample, Entry, Fault, JournalError, Lock, Reader, Tail, Writer, is_locked};
use super::{completed, journal, read, some_entries, temporary_path, write};

/// A journal on a full disk: every write to this device fails.
fn full() -> Option<Writer> {
    match OpenOptions::new().write(true).open("/dev/full") {
        Ok(file) => Some(Writer::over(file, PathBuf::from("journal"), 48)),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a skipped test prints why")]
            {
                eprintln!("skipped: /dev/full cannot be opened here: {error}");
            }
            None
        }
    }
}

#[test]
fn a_full_disk_is_reported_once_and_later_writes_are_refused() {
    let Some(mut writer) = full() else { return };
    writer.commit().unwrap();
    writer.sent(Epoch::new(1), 0, &[RowId::new(0)]);
    assert_eq!(
        writer.commit().unwrap_err().to_string(),
        "cannot write journal 'journal' at byte 48: No space left on device (os error 28); \
         free disk space, or choose another directory with --run-dir"
    );
    let refused = "journal 'journal' accepts no more records after a failed write";
    writer.fact(&json!(null)).unwrap();
    assert_eq!(writer.commit().unwrap_err().to_string(), refused);
    assert_eq!(writer.sync().unwrap_err().to_string(), refused);
}

#[test]
fn memory_is_bounded_without_a_commit_and_the_next_commit_reports_a_full_disk() {
    let Some(mut writer) = full() else { return };
    let samples: Vec<CountedSample> = (0..256).map(completed).collect();
    for _ in 0..2 * JOURNAL_BUFFER_BYTES_MAX / (256 * 16) {
        writer.results(Epoch::new(1), &samples);
    }
    assert!(writer.commit().unwrap_err().to_string().contains("No space left"));

    let (_directory, path) = temporary_path();
    let mut writer = Writer::create(&path).unwrap();
    for _ in 0..2 * JOURNAL_BUFFER_BYTES_MAX / (256 * 16) {
        writer.results(Epoch::new(1), &samples);
    }
    assert!(fs::metadata(&path).unwrap().len() >= JOURNAL_BUFFER_BYTES_MAX as u64);
    writer.sync().unwrap();
    assert_eq!(read(&fs::read(path).unwrap()).unwrap().1, Tail::Clean);
}

#[test]
fn committed_records_stay_readable_after_a_partial_write() {
    let (_directory, path) = temporary_path();
    let mut writer = Writer::create(&path).unwrap();
    write(&mut writer, &some_entries());
    writer.commit().unwrap();
    let whole = fs::read(&path).unwrap();
    // Half of the next record reached the disk.
    let more = journal(&some_entries());
    drop(writer);
    fs::write(&path, [&whole, &more[HEADER_BYTES..HEADER_BYTES + 20]].concat()).unwrap();
    let (found, tail) = read(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(found, some_entries());
    let expected = Fault::Incomplete { wanted: 41, found: 20 };
    assert_eq!(tail, Tail::Torn { offset: whole.len() as u64, bytes: 20, reason: expected });
}

#[test]
fn one_journal_has_one_writer_and_any_number_of_readers() {
    let (_directory, path) = temporary_path();
    let mut writer = Writer::create(&path).unwrap();
    assert!(is_locked(&path).unwrap());
    let error = Lock::take(&path).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    assert!(matches!(Writer::create(&path).unwrap_err(), JournalError::Create { .. }));
    write(&mut writer, &some_entries());
    writer.commit().unwrap();
    let read: Vec<Entry> = Reader::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, some_entries());
    drop(writer);
    assert!(!is_locked(&path).unwrap());
    let lock = Lock::take(&path).unwrap();
    let end = fs::metadata(&path).unwrap().len();
    assert!(matches!(lock.append(end + 1).unwrap_err(), JournalError::Shrunk { .. }));
}

#[test]
fn a_lock_check_does_not_block_a_writer() {
    let (_directory, path) = temporary_path();
    drop(Writer::create(&path).unwrap());
    let checker = File::open(&path).unwrap();
    checker.try_lock_shared().unwrap();
    assert!(!is_locked(&path).unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(Lock::take(&path).map(drop)).unwrap());
        checker.unlock().unwrap();
        receiver.recv().unwrap().unwrap();
    });
}

#[test]
fn only_its_owner_can_access_a_journal() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = temporary_path();
    drop(Writer::create(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
