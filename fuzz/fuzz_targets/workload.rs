//! Reads arbitrary bytes as a workload. The checks are in `muster_coordinator::workload::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_coordinator::workload::fuzzing::check(data));
