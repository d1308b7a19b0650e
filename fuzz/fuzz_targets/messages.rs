//! What comes off the wire may be anything. What is checked stands in `muster_proto::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_proto::fuzzing::check(data));
