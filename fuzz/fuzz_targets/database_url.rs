//! What a coordinator hands over as a database URL may be anything. What is checked stands in `muster_agent::postgres::handed_over`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_agent::postgres::handed_over::fuzzing::check(data));
