//! Pages of every kind of run: their figures are those of the JSON, they are small, and no name changes them.

use std::collections::BTreeSet;

use muster_stats::latency::figure;

use crate::fixtures::{self, Plotted, with_plots};
use crate::result::{Agent, Event, RunResult};
use crate::units;
use crate::{Format, render};

/// A page of any run is smaller than this.
const BYTES_MAX: usize = 250_000;

/// A run in which the server stalled for one second and an agent was killed.
pub(crate) fn stalled() -> RunResult {
    let mut result = fixtures::agent_lost();
    let what = "slot-1 lost (db2/4712): no heartbeat for 3.3 s".to_owned();
    result.events.push(Event { run_ms: Some(2_950.0), ..Event::once(4_184.0, what) });
    let plotted = Plotted { stalled: (12, 22), agent_lost_in: Some(29), ..Plotted::QUIET };
    with_plots(result, plotted)
}

/// One result for each way in which a run can end, and for each size.
fn every_kind() -> Vec<(&'static str, RunResult)> {
    let open = Plotted { has_due_times: true, ..Plotted::QUIET };
    let one = Plotted { intervals: 1, queries_per_interval: 1, ..Plotted::QUIET };
    let largest =
        Plotted { intervals: 600, queries_per_interval: 2_000, has_due_times: true, ..Plotted::QUIET };
    let mut one_row = fixtures::good();
    one_row.agents.truncate(1);
    let mut thousands = fixtures::thousand_agents();
    let more: Vec<_> = thousands
        .agents
        .iter()
        .cloned()
        .map(|agent| Agent { slot: format!("{}-b", agent.slot), ..agent })
        .collect();
    thousands.agents.extend(more);
    vec![
        ("valid", with_plots(fixtures::good(), Plotted::QUIET)),
        ("degraded", stalled()),
        ("failures", with_plots(fixtures::failures(), Plotted::QUIET)),
        ("void", with_plots(fixtures::open_loop(), open)),
        ("search", with_plots(fixtures::search(), open)),
        ("search without a rate", fixtures::search_without_rate()),
        ("versus", with_plots(fixtures::comparisons::versus(), Plotted::QUIET)),
        ("one row", with_plots(one_row, one)),
        ("ten million rows", with_plots(fixtures::open_loop(), largest)),
        ("2,000 agents", with_plots(thousands, Plotted { queries_per_interval: 4_000, ..largest })),
        ("no successful query", fixtures::all_failed()),
        ("an older version", fixtures::good()),
        ("hostile names", with_plots(fixtures::hostile(), open)),
    ]
}

/// The digits of every number in a text, except in names of figures such as `p99.9`.
fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == ',')).filter_map(|word| {
        let word = word.trim_matches(['.', ',']);
        word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
    })
}

/// Every number of the JSON in every unit in which a report may show it, and every number in its texts.
fn shown(json: &serde_json::Value, into: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Number(number) => {
            let value = number.as_f64().unwrap();
            let mut texts = vec![
                units::duration(value),
                units::figure(value),
                units::times(value),
                super::scale::plain(value / 1e3),
            ];
            texts.extend([
                units::percent(Some(value)),
                units::share(Some(value)),
                units::share_down(Some(value)),
            ]);
            texts.extend(number.as_u64().map(units::count));
            texts.extend([format!("{:.3}", value / 1e3), format!("{:.1}", value * 100.0)]);
            texts.iter().for_each(|text| into.extend(numbers(text)));
        }
        serde_json::Value::String(text) => into.extend(numbers(&muster_core::printable::harmless(text))),
        serde_json::Value::Array(list) => list.iter().for_each(|value| shown(value, into)),
        serde_json::Value::Object(fields) => fields.values().for_each(|value| shown(value, into)),
        serde_json::Value::Null | serde_json::Value::Bool(_) => {}
    }
}

/// The texts of all elements that start like this, without markup. They end at a tag that is not inline.
fn texts<'h>(html: &'h str, start: &'h str) -> impl Iterator<Item = String> + 'h {
    html.split(start).skip(1).filter_map(|rest| {
        let (_, content) = rest.split_once('>')?;
        let mut text = String::new();
        for (at, part) in content.split('<').enumerate() {
            match (at, part.split_once('>')) {
                (0, _) => text += part,
                (_, Some((tag, more)))
                    if ["b", "/b", "i", "/i", "span", "/span", "code", "/code"]
                        .contains(&tag.split(' ').next()?) =>
                {
                    text += more
                }
                _ => break,
            }
        }
        let entities = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#x27;", "'"),
            ("&#x2f;", "/"),
            ("&amp;", "&"),
        ];
        Some(entities.iter().fold(text, |text, (entity, c)| text.replace(entity, c)))
    })
}

#[test]
fn every_number_of_a_page_is_in_the_json() {
    for (name, result) in every_kind() {
        let html = render(Format::Html, &result);
        let mut known = BTreeSet::from(["95".to_owned()]);
        shown(&serde_json::to_value(&result).unwrap(), &mut known);
        for figure in figure::ALL {
            known.extend([figure.count_min, figure.interval_count_min].map(units::count));
        }
        let mut count = 0;
        let shown = ["<td", "<p class=\"value\"", "<p class=\"detail\""]
            .into_iter()
            .flat_map(|start| texts(&html, start));
        for text in shown {
            for number in numbers(&text) {
                assert!(known.contains(&number), "{name}: {number} in '{text}' is not in the JSON");
                count += 1;
            }
        }
        assert!(count > 10, "{name}: {count} numbers");
    }
}

#[test]
fn every_page_is_small_and_needs_nothing_else() {
    for (name, result) in every_kind() {
        let html = render(Format::Html, &result);
        assert!(html.len() < BYTES_MAX, "{name}: {} bytes", html.len());
        for outside in ["http://", "https://", "url(", "@import", " src=", " style=", "NaN", "inf"] {
            let own = html.split("<details").next().unwrap_or_default();
            assert!(!own.contains(outside) || name == "hostile names", "{name} contains {outside}");
        }
        let [opened, closed] = ["<svg", "</svg>"].map(|tag| html.matches(tag).count());
        assert_eq!(opened, closed, "{name}");
        assert_eq!(opened > 0, !result.series.is_empty(), "{name}");
    }
}

#[test]
fn a_stalled_server_and_a_lost_agent_are_marked() {
    let html = render(Format::Html, &stalled());
    assert!(html.contains("<li>2.95 s: slot-1 lost (db2&#x2f;4712): no heartbeat for 3.3 s</li>"));
    assert!(html.contains("id=\"running-agents\""));
    // In the stalled second no query ended, and the longest of the next interval took a second.
    assert!(html.contains("<td>1.2–1.3 s<td>0<td>0<td>0<td>2\n"), "{html}");
    let after = html.split("<td>2.2–2.3 s").nth(2).and_then(|row| row.lines().next()).unwrap();
    assert!(after.contains("<td>1.0"), "{after}");
}

#[test]
fn names_are_escaped() {
    let html = render(
        Format::Html,
        &with_plots(
            fixtures::hostile_with("</script><script>alert(1)</script>\"'\u{202e}\u{1b}[2J"),
            Plotted::QUIET,
        ),
    );
    assert_eq!(html.matches("<script>").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;&quot;&#x27;\\u{202e}\\u{1b}[2J"));
}

/// Replaces every number of a result.
fn replace_numbers(json: &mut serde_json::Value, whole: u64, fraction: f64) {
    match json {
        serde_json::Value::Number(number) if number.is_f64() => *json = fraction.into(),
        serde_json::Value::Number(_) => *json = whole.into(),
        serde_json::Value::Array(list) => {
            list.iter_mut().for_each(|value| replace_numbers(value, whole, fraction))
        }
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|value| replace_numbers(value, whole, fraction));
        }
        _ => {}
    }
}

#[test]
fn a_result_with_any_numbers_has_a_page() {
    let stalled = serde_json::to_value(stalled()).unwrap();
    let void = serde_json::to_value(with_plots(
        fixtures::open_loop(),
        Plotted { has_due_times: true, ..Plotted::QUIET },
    ));
    for kind in [stalled, void.unwrap()] {
        for whole in [0, 1, u64::MAX] {
            for fraction in [0.0, -1.0, 1e-308, 1e308, -1e308] {
                let mut json = kind.clone();
                replace_numbers(&mut json, whole, fraction);
                // Some fields are narrower than 64 bits.
                let Ok(result) = serde_json::from_value::<RunResult>(json) else { continue };
                let html = render(Format::Html, &result);
                assert!(html.ends_with("</html>\n"), "{whole} {fraction}");
            }
        }
    }
}

/// Writes every page into a directory, for the tests with a browser and for people: `just pages DIRECTORY`.
#[test]
fn pages_are_written_on_request() {
    let Some(directory) = std::env::var_os("MUSTER_PAGES") else { return };
    for (name, result) in every_kind() {
        let path =
            std::path::Path::new(&directory).join(name.replace([' ', ','], "-")).with_extension("html");
        std::fs::write(path, render(Format::Html, &result)).unwrap();
    }
    for (name, comparison) in fixtures::comparisons::all() {
        let path = std::path::Path::new(&directory)
            .join(format!("comparison-{name}").replace(' ', "-"))
            .with_extension("html");
        std::fs::write(path, render(Format::Html, &comparison)).unwrap();
    }
}
