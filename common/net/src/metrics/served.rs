//! A page as it is served: the metrics of this process, and those of a source.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::page::{Page, Source};
use super::process::ThisProcess;

/// Returns a page as it is served, with the metrics of this process and of `source`.
pub fn written(source: impl Source) -> String {
    text(&registry(source))
}

pub(super) fn registry(source: impl Source) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(ThisProcess)));
    registry.register_collector(Box::new(Collected(source)));
    registry
}

pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("writing to a String cannot fail, and every value is a number");
    text
}

/// Adapts a [`Source`] to a collector of the registry.
#[derive(Debug)]
struct Collected<S>(S);

impl<S: Source> Collector for Collected<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Page(encoder))
    }
}
