//! The output on the port of `--metrics`, parsed as Prometheus parses it: exactly the series that `deploy/metrics.txt` lists, from the
//! beginning, with the numbers of the report; and the health check on the same port.
#![cfg(target_os = "linux")]

mod agents;
mod contract;
mod port;
mod runs;
mod scrape;
