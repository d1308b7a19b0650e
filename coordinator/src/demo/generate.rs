//! Generates deterministic data of any size: `cpu_usage.csv` and `query_params.csv`. The same shape and seed give the same bytes on every
//! machine and in every version, so that results are comparable. It computes with integers only, because floating-point results may differ
//! between machines. Memory use does not depend on the number of rows. The caller decides where the bytes are written.

mod random;
mod shape;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use jiff::Timestamp;
use muster_stats::random::SplitMix64;

use random::Walk;
pub use shape::{Shape, ShapeError, Windows};
use shape::{Valid, whole_seconds};

/// One measurement of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Microseconds since 1970 in UTC.
    pub ts_us: i64,
    /// The host's number, from 0; [`host_name`] returns its name.
    pub host: u32,
    /// Hundredths of a percent, 0 to 10,000.
    pub usage_hundredths: u16,
}

impl Sample {
    /// The usage in percent; equal to the number in the CSV file.
    pub fn usage(&self) -> f64 {
        f64::from(self.usage_hundredths) / 100.0
    }
}

/// Returns the host's name, such as `host_000007`.
pub fn host_name(host: u32) -> String {
    format!("host_{host:06}")
}

/// The samples of a shape, ordered by time, then host. Uses 16 bytes of memory per host.
#[derive(Debug, Clone)]
pub struct Samples {
    walks: Vec<Walk>,
    /// The host of the next sample.
    host: usize,
    /// Time of the next sample, in seconds from the start.
    at: u64,
    span: u64,
    step: u64,
    start: i64,
}

impl Samples {
    /// # Errors
    /// When the shape has no samples or is outside the supported time range.
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

    /// Returns the number of remaining samples.
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

/// The parameters of one query. Times are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub host: u32,
    pub start: i64,
    pub end: i64,
}

/// Returns `windows.rows` windows within the shape's span, in random order.
///
/// # Errors
/// When the window is longer than the shape's span, or the shape has fewer hosts than requested.
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

/// Chooses `count` different hosts of `hosts`: the first elements of a Fisher–Yates shuffle.
fn choose(count: u32, hosts: u32, random: &mut SplitMix64) -> Vec<u32> {
    let mut all: Vec<u32> = (0..hosts).collect();
    for place in 0..count {
        let other = place + random.below(u64::from(hosts - place)) as u32;
        all.swap(place as usize, other as usize);
    }
    all.truncate(count as usize);
    all
}

/// Keeps the kind of the I/O error. The csv crate's own conversion changes every kind to `Other`, so a broken pipe would be reported as a
/// failure.
fn write_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// Formats a time in UTC, such as `2017-01-01 00:00:00`.
fn time_text(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).expect("a valid shape is within the calendar");
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
