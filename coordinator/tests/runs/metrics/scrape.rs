//! A scraper: sends one request and parses the answer with an OpenMetrics parser.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use nom_openmetrics::parser::openmetrics;
use nom_openmetrics::{Family, MetricDescriptor, MetricType, Sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use muster_testing::processes::TIMEOUT;

pub(crate) struct Answer {
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One parsed page.
#[derive(Debug)]
pub(crate) struct Page {
    series: Vec<Series>,
    /// The type of each family, by name.
    kinds: BTreeMap<String, &'static str>,
}

#[derive(Debug)]
struct Series {
    family: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

pub(crate) async fn request(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has headers");
        Ok(Answer { head: head.to_owned(), body: body.to_owned() })
    };
    timeout(TIMEOUT, exchange).await.expect("the program answers in time")
}

pub(crate) async fn scrape(address: SocketAddr) -> Page {
    let Answer { head, body } = request(address, "GET /metrics").await.expect("the port is open");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    let (rest, families) = openmetrics(&body).unwrap_or_else(|problem| panic!("{problem}:\n{body}"));
    assert_eq!(rest, "", "the parser stopped early");
    Page::of(&families)
}

/// Scrapes until the page meets the condition.
pub(crate) async fn scrape_until(address: SocketAddr, what: &str, is_met: impl Fn(&Page) -> bool) -> Page {
    let scraped = async {
        loop {
            let page = scrape(address).await;
            if is_met(&page) {
                return page;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TIMEOUT, scraped).await.unwrap_or_else(|_| panic!("timed out waiting until {what}"))
}

impl Page {
    fn of(families: &[Family<'_>]) -> Self {
        let mut page = Self { series: Vec::new(), kinds: BTreeMap::new() };
        for Family { descriptors, samples } in families {
            let family = descriptors[0].metric();
            assert!(descriptors.iter().all(|descriptor| descriptor.metric() == family), "{descriptors:?}");
            let kind = descriptors.iter().find_map(|descriptor| match descriptor {
                MetricDescriptor::Type { r#type, .. } => Some(kind(r#type)),
                _ => None,
            });
            let before = page.kinds.insert(family.to_owned(), kind.expect("every family has a type"));
            assert_eq!(before, None, "{family} is exported twice");
            page.series.extend(samples.iter().map(|sample| series(family, sample)));
        }
        page.series.iter().for_each(|series| page.check(series));
        page
    }

    /// Checks that the name of a series has a suffix that fits its type.
    fn check(&self, Series { family, name, .. }: &Series) {
        let suffixes: &[&str] = match self.kinds[family] {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let suffix = name.strip_prefix(family.as_str());
        assert!(suffix.is_some_and(|suffix| suffixes.contains(&suffix)), "{name} in the family {family}");
    }

    /// The value of the series with exactly these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: BTreeMap<_, _> =
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let is_wanted = |series: &&Series| series.name == name && series.labels == wanted;
        let found: Vec<&Series> = self.series.iter().filter(is_wanted).collect();
        assert_eq!(found.len(), 1, "{name}{labels:?}: {found:?}");
        found[0].value
    }

    pub(crate) fn queries(&self, name: &str) -> (f64, f64) {
        let of = |outcome| self.value(name, &[("outcome", outcome)]);
        (of("completed"), of("failed"))
    }

    pub(crate) fn agents(&self) -> (f64, f64, f64) {
        let of = |state| self.value("muster_agents", &[("state", state)]);
        (of("wanted"), of("joined"), of("running"))
    }

    /// The phase that the run is in, if any.
    pub(crate) fn phase(&self) -> Option<&str> {
        let phases =
            self.series.iter().filter(|series| series.name == "muster_run_phase" && series.value == 1.0);
        let phases: Vec<&str> = phases.map(|series| series.labels["phase"].as_str()).collect();
        assert!(phases.len() <= 1, "{phases:?}");
        phases.first().copied()
    }

    /// Checks the buckets of a histogram and returns its count.
    pub(crate) fn histogram(&self, name: &str) -> f64 {
        let count = self.value(&format!("{name}_count"), &[]);
        let buckets = self.series.iter().filter(|series| series.name == format!("{name}_bucket"));
        let buckets: Vec<(f64, f64)> =
            buckets.map(|series| (series.labels["le"].parse().unwrap(), series.value)).collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "buckets are cumulative: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)));
        let sum = self.value(&format!("{name}_sum"), &[]);
        assert!((sum > 0.0) == (count > 0.0), "{count} queries took {sum} s together");
        count
    }

    /// The page as lines of the contract: name, type, labels with their values.
    pub(crate) fn listed(&self) -> BTreeSet<String> {
        self.kinds.iter().map(|(family, kind)| self.listed_family(family, kind)).collect()
    }

    fn listed_family(&self, family: &str, kind: &str) -> String {
        let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for series in self.series.iter().filter(|series| series.family == family) {
            for (label, value) in series.labels.iter().filter(|(label, _)| *label != "le") {
                labels.entry(label).or_default().insert(value);
            }
        }
        let labels = labels.into_iter().map(|(label, values)| {
            let values: Vec<&str> = values.into_iter().collect();
            // The version differs between releases.
            if label == "version" { label.to_owned() } else { format!("{label}={}", values.join("|")) }
        });
        [name, kind.to_owned()].into_iter().chain(labels).collect::<Vec<_>>().join(" ")
    }
}

fn kind(kind: &MetricType<'_>) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        // The parser accepts all types but has no variant for this one.
        MetricType::Histogram | MetricType::Unknown("histogram") => "histogram",
        other => panic!("unexpected type {other}"),
    }
}

fn series(family: &str, sample: &Sample<'_>) -> Series {
    let labels = sample.labels().iter().map(|label| (label.name.to_owned(), label.value.to_string()));
    let (family, name) = (family.to_owned(), sample.name().to_owned());
    Series { family, name, labels: labels.collect(), value: sample.number() }
}
