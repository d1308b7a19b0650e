//! What holds for every format and every way in which a run can end.

use super::page::{WIDTH, chars};
use super::{Format, fixtures, render};

#[test]
fn no_line_of_the_text_report_is_wider_than_the_page() {
    for (name, result) in fixtures::all() {
        for line in render(Format::Text, &result).lines() {
            assert!(chars(line) <= WIDTH, "{name}: {line}");
            assert_eq!(line, line.trim_end(), "{name}");
            assert!(!line.contains(char::is_control), "{name}: {line:?}");
        }
    }
}

#[test]
fn long_names_give_way_to_figures() {
    let text = render(Format::Text, &fixtures::hostile());
    let agents: Vec<&str> = text.lines().filter(|line| line.contains("4,294,967,295")).collect();
    assert_eq!(agents.len(), 2, "{text}");
    assert!(agents[1].ends_with("25.0 ms"), "{agents:#?}");
}

#[test]
fn every_report_ends_with_one_newline() {
    for (name, result) in fixtures::all() {
        for format in Format::ALL {
            let report = render(format, &result);
            assert!(report.ends_with('\n') && !report.ends_with("\n\n"), "{name}, {format}");
        }
    }
}

#[test]
fn a_markdown_row_has_as_many_cells_as_its_head() {
    for (name, result) in fixtures::all() {
        let markdown = render(Format::Markdown, &result);
        let mut cells_of_head = None;
        for line in markdown.lines() {
            if !line.starts_with('|') {
                cells_of_head = None;
                continue;
            }
            let cells = line.replace("\\|", "").matches('|').count();
            assert_eq!(cells, *cells_of_head.get_or_insert(cells), "{name}: {line}");
        }
    }
}
