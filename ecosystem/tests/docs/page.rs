//! A page as its tests read it: sections, tables, and what is quoted in a cell.

use crate::source;
use std::collections::BTreeSet;

pub struct Page {
    text: String,
}

impl Page {
    pub fn read(path: &str) -> Self {
        Self { text: source::read(path) }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The part under this heading, up to the next of its kind.
    pub fn section(&self, heading: &str) -> &str {
        let mut sections = self.text.split("\n## ");
        sections
            .find(|section| section.lines().next() == Some(heading))
            .unwrap_or_else(|| panic!("no section {heading:?}"))
    }

    /// The rows of all tables of a section, or of the whole page, whose first cell begins with a quoted word.
    pub fn rows(text: &str) -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row[1..].trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    }
}

/// The words of a cell that stand in backticks.
pub fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first quoted word of each row.
pub fn names(rows: &[Vec<String>]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| quoted(&row[0]).into_iter().next()).collect()
}

#[track_caller]
pub fn assert_same(what: &str, page: &BTreeSet<String>, code: &BTreeSet<String>) {
    assert!(!code.is_empty(), "{what}: the test found none in the code");
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join(", ");
    assert!(page == code, "{what}: only on the page: [{}]; only in the code: [{}]", only(page, code), only(code, page));
}
