//! A file that may hold anything, read as a journal. What is checked stands in `muster_coordinator::journal::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_coordinator::journal::fuzzing::check(data));
