//! Reads arbitrary bytes as a journal. The checks are in `muster_coordinator::journal::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_coordinator::journal::fuzzing::check(data));
