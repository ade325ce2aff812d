//! What ARCHITECTURE.md says that can be checked: the table of crates and the files that name them, and the list of files
//! with `unsafe` in them.

use crate::source;

/// A row of the table.
pub struct Row {
    pub name: String,
    /// The file where the crate becomes what it is for us; `None` while it is still to come.
    pub home: Option<String>,
    /// Patterns (`*` within a folder, `**` across) of the other files that name it.
    pub also: Vec<String>,
}

const TO_COME: &str = "with the cluster";

pub fn crates() -> Vec<Row> {
    let text = source::read("ARCHITECTURE.md");
    let rows = table(&text, "| crate | the file");
    rows.into_iter()
        .map(|cells| {
            let [name, home, _purpose, also] =
                cells.try_into().unwrap_or_else(|cells| panic!("not four columns: {cells:?}"));
            let home = (home != TO_COME)
                .then(|| quoted(&home).into_iter().next().unwrap_or_else(|| panic!("{name} names no file")));
            Row { name: quoted(&name).into_iter().next().unwrap_or(name), home, also: quoted(&also) }
        })
        .collect()
}

/// Files in the list under the heading about `unsafe`.
pub fn unsafe_files() -> Vec<String> {
    list_under("`unsafe`")
}

/// Folders in the list under the heading about full ones.
pub fn full_folders() -> Vec<String> {
    list_under("more than twelve files")
}

/// The first quoted word of each item under the heading that holds `words`.
fn list_under(words: &str) -> Vec<String> {
    let text = source::read("ARCHITECTURE.md");
    let section =
        text.split("\n## ").find(|section| section.lines().next().is_some_and(|heading| heading.contains(words)));
    let section = section.unwrap_or_else(|| panic!("ARCHITECTURE.md has no section about {words}"));
    section.lines().filter(|line| line.starts_with("- ")).flat_map(|line| quoted(line).into_iter().next()).collect()
}

/// The cells of the table whose head begins like this.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = rows
        .map(|row| row[1..].trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "ARCHITECTURE.md has no table that begins with {head:?}");
    rows
}

/// What stands in backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// `*` stands for anything but `/`, `**` for anything.
pub fn matches(pattern: &str, path: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(path) = path.strip_prefix(start) else { return false };
    let (rest, across) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
    let longest = if across { path.len() } else { path.find('/').unwrap_or(path.len()) };
    (0..=longest).any(|taken| path.is_char_boundary(taken) && matches(rest, &path[taken..]))
}

#[test]
fn patterns_match_within_and_across_folders() {
    assert!(matches("gateway/src/**", "gateway/src/rest/auth.rs"));
    assert!(matches("gateway/src/*.rs", "gateway/src/app.rs"));
    assert!(!matches("gateway/src/*.rs", "gateway/src/rest/auth.rs"));
    assert!(!matches("gateway/src/app.rs", "gateway/src/app.rs.old"));
}
