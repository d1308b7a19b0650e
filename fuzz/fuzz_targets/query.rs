//! Any text as a statement. What is checked stands in `muster_common::query::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_common::query::fuzzing::check(data));
