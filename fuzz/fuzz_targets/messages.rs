//! Decodes arbitrary bytes as messages. The checks are in `muster_proto::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_proto::fuzzing::check(data));
