//! The deadline of a test. When a test hangs, its name is printed and its program ended. Shorter timeouts within the test report more
//! details.

use std::cell::RefCell;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// About ten times the duration of the longest test on two busy cores.
const TEST_MAX: Duration = Duration::from_secs(600);

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// Starts the deadline of the test on this thread; it ends with the thread. The helpers that tests of whole runs start with call it, so
/// every such test has one.
pub fn begin() {
    OF_THIS_THREAD.with(|deadline| deadline.replace(Some(Deadline::of_this_test())));
}

/// Applies until the test ends: `let _deadline = Deadline::of_this_test();`
pub struct Deadline(#[allow(dead_code, reason = "its drop is what is waited for")] Sender<()>);

impl Deadline {
    pub fn of_this_test() -> Self {
        Self::within(TEST_MAX)
    }

    pub fn within(limit: Duration) -> Self {
        // The test harness names each thread after its test.
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
