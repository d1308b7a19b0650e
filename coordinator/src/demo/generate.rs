//! Deterministic data of any size: `cpu_usage.csv` and `query_params.csv`. The same shape and seed give the same bytes on every machine
//! and for ever, so that results of different people can be compared; integers only, because floating point would not promise that.
//! Memory does not grow with the number of rows. Where the bytes go is the caller's affair.

mod random;
mod shape;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use jiff::Timestamp;
use muster_common::random::SplitMix64;

use random::Walk;
pub use shape::{Shape, ShapeError, Windows};
use shape::{Valid, whole_seconds};

/// One measurement of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Microseconds since 1970 in UTC.
    pub ts_us: i64,
    /// From 0; [`host_name`] gives its name.
    pub host: u32,
    /// Hundredths of a percent, 0 to 10,000.
    pub usage_hundredths: u16,
}

impl Sample {
    /// Percent; the same number that the CSV's text reads as.
    pub fn usage(&self) -> f64 {
        f64::from(self.usage_hundredths) / 100.0
    }
}

/// `host_000007`.
pub fn host_name(host: u32) -> String {
    format!("host_{host:06}")
}

/// The samples of a shape, ordered by time, then host. Holds 16 bytes a host.
#[derive(Debug, Clone)]
pub struct Samples {
    walks: Vec<Walk>,
    /// The host whose turn it is.
    host: usize,
    /// Seconds from the start.
    at: u64,
    span: u64,
    step: u64,
    start: i64,
}

impl Samples {
    /// # Errors
    /// When the shape has no samples or leaves the calendar.
    pub fn try_new(shape: &Shape) -> Result<Self, ShapeError> {
        let valid = Valid::try_new(shape)?;
        Ok(Self {
            walks: (0..shape.hosts).map(|host| Walk::new(shape.seed, host)).collect(),
            host: 0,
            at: 0,
            span: valid.span,
            step: valid.step,
            start: valid.start,
        })
    }

    /// How many samples are left.
    pub fn rows(&self) -> u64 {
        let ticks = self.span.saturating_sub(self.at).div_ceil(self.step);
        ticks * self.walks.len() as u64 - self.host as u64
    }
}

impl Iterator for Samples {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.at >= self.span {
            return None;
        }
        let sample = Sample {
            ts_us: (self.start + self.at as i64) * 1_000_000,
            host: self.host as u32,
            usage_hundredths: self.walks[self.host].next(),
        };
        self.host += 1;
        if self.host == self.walks.len() {
            self.host = 0;
            self.at += self.step;
        }
        Some(sample)
    }
}

/// Writes the samples as CSV with the columns `ts,host,usage`. Returns the number of rows.
pub fn write_samples(samples: Samples, out: impl Write) -> io::Result<u64> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["ts", "host", "usage"]).map_err(write_error)?;
    let names: Vec<String> = (0..samples.walks.len() as u32).map(host_name).collect();
    let (mut ts_us, mut ts, mut usage) = (i64::MIN, String::new(), Vec::with_capacity(8));
    let mut rows = 0;
    for sample in samples {
        if sample.ts_us != ts_us {
            ts_us = sample.ts_us;
            ts = time_text(ts_us / 1_000_000);
        }
        usage.clear();
        let hundredths = sample.usage_hundredths;
        write!(usage, "{}.{:02}", hundredths / 100, hundredths % 100)?;
        let name = &names[sample.host as usize];
        writer.write_record([ts.as_bytes(), name.as_bytes(), &usage]).map_err(write_error)?;
        rows += 1;
    }
    writer.flush()?;
    Ok(rows)
}

/// One query's parameters, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub host: u32,
    pub start: i64,
    pub end: i64,
}

/// `windows.rows` windows that lie inside the shape's span, in no order.
///
/// # Errors
/// When the shape has no room for such a window or not so many hosts.
pub fn windows(shape: &Shape, windows: &Windows) -> Result<impl Iterator<Item = Window> + use<>, ShapeError> {
    let Valid { span, start, .. } = Valid::try_new(shape)?;
    let window = whole_seconds("window", windows.window)?;
    if windows.rows == 0 {
        return Err(ShapeError::NoQueries);
    }
    if windows.hosts == 0 || windows.hosts > shape.hosts {
        return Err(ShapeError::QueriedHosts { queried: windows.hosts, hosts: shape.hosts });
    }
    if window >= span {
        return Err(ShapeError::WindowTooLong { window, span });
    }
    let mut random = SplitMix64::new(windows.seed);
    let hosts = choose(windows.hosts, shape.hosts, &mut random);
    let window_at = move |_| {
        let host = hosts[random.below(hosts.len() as u64) as usize];
        let start = start + random.below(span - window + 1) as i64;
        Window { host, start, end: start + window as i64 }
    };
    Ok((0..windows.rows).map(window_at))
}

/// Writes windows as CSV with the columns `hostname,start_time,end_time`. Returns the number of rows.
pub fn write_windows(windows: impl Iterator<Item = Window>, out: impl Write) -> io::Result<u64> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["hostname", "start_time", "end_time"]).map_err(write_error)?;
    let mut rows = 0;
    for window in windows {
        let record = [host_name(window.host), time_text(window.start), time_text(window.end)];
        writer.write_record(record).map_err(write_error)?;
        rows += 1;
    }
    writer.flush()?;
    Ok(rows)
}

/// `count` different hosts of `hosts`: the front of a Fisher–Yates shuffle.
fn choose(count: u32, hosts: u32, random: &mut SplitMix64) -> Vec<u32> {
    let mut all: Vec<u32> = (0..hosts).collect();
    for place in 0..count {
        let other = place + random.below(u64::from(hosts - place)) as u32;
        all.swap(place as usize, other as usize);
    }
    all.truncate(count as usize);
    all
}

/// csv's own conversion makes every kind `Other`, and a broken pipe would look like a failure.
fn write_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// `2017-01-01 00:00:00`, UTC.
fn time_text(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).expect("a valid shape stays inside the calendar");
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
