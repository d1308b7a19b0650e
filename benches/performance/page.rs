//! docs/PERFORMANCE.md, whose figures stand between marks and are written by this program alone.

use std::path::Path;

/// Replaces what stands between `<!-- bench: NAME -->` and the next `<!-- end -->`.
///
/// # Panics
/// When the page has no such marks, or cannot be written.
pub(crate) fn write(section: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PERFORMANCE.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let written = replaced(&page, section, text);
    std::fs::write(&path, written.unwrap_or_else(|| panic!("no section '{section}' in {}", path.display())))
        .unwrap();
}

fn replaced(page: &str, section: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- bench: {section} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{begin}{}\n<!-- end -->{after}", text.trim_end()))
}
