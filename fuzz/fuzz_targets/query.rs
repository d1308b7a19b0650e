//! Parses arbitrary text as a statement. The checks are in `muster_core::query::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_core::query::fuzzing::check(data));
