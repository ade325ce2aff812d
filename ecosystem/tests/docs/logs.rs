//! docs/logs.md explains every field that names a thing (`user.id`, `request.id`, …).

use crate::page::{Page, assert_same, quoted};
use crate::source;
use std::collections::BTreeSet;

/// Fields as they stand in the code: `user.id = %…`.
fn fields() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in source::rust().into_iter().filter(source::Source::is_program) {
        // A field is given by its text (`%`), or as it is where that is one (`&*`).
        for (_, line) in file.code_without_tests() {
            for (at, _) in line.match_indices(".id = %").chain(line.match_indices(".id = &*")) {
                let thing = line[..at].rsplit(|c: char| !c.is_ascii_lowercase()).next().unwrap();
                found.insert(format!("{thing}.id"));
            }
        }
    }
    found
}

#[test]
fn the_fields_of_ids_are_those_of_the_code() {
    let page = Page::read("docs/logs.md");
    let rows = Page::rows(page.section("Fields"));
    let on_page = rows.iter().flat_map(|row| quoted(&row[0])).filter(|name| name.ends_with(".id")).collect();
    assert_same("fields", &on_page, &fields());
}
