//! The deadline of a test. A test that hangs is named and its program ended, whatever it waits for. Shorter waits within the test report
//! more details.
#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "not each test program uses it, and it speaks before it leaves"
)]

use std::cell::RefCell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// About ten times as long as the longest test takes on two busy cores.
const TEST_MAX: Duration = Duration::from_secs(600);

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// The deadline of the test on this thread, from now until the thread ends. The helpers that tests of whole runs start with call it, so no
/// such test is without one.
pub(crate) fn begin() {
    OF_THIS_THREAD.with(|deadline| deadline.replace(Some(Deadline::of_this_test())));
}

/// Applies until the test ends: `let _deadline = Deadline::of_this_test();`
pub(crate) struct Deadline(#[allow(dead_code, reason = "its drop is what is waited for")] Sender<()>);

impl Deadline {
    pub(crate) fn of_this_test() -> Self {
        Self::within(TEST_MAX)
    }

    pub(crate) fn within(limit: Duration) -> Self {
        // The harness names the threads of its tests.
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            // No message ever arrives: the channel closes when the test ends.
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} has not ended within {limit:?}: the test program ends here");
                std::process::exit(101);
            }
        });
        Self(sender)
    }
}
