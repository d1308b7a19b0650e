//! Fuzzes the database URL that an agent receives from its coordinator. The checks are in `muster_postgres::handed_over_url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster_postgres::handed_over_url::fuzzing::check(data));
