//! The repository's text as the tidy test reads it: files of the source tree, their code without comments, and the part
//! of it that is not a test.

use std::path::{Path, PathBuf};

pub const CRATES: [&str; 6] = ["shared", "gateway", "worker", "ecosystem", "loadtest", "fuzz"];

pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate of a workspace has a parent").to_path_buf()
}

/// Every Rust file of the repository.
pub fn rust() -> Vec<Source> {
    let sources: Vec<Source> = CRATES.iter().flat_map(|name| read_all(&root().join(name), &["rs"])).collect();
    assert!(sources.len() > 50, "found only {} files: the test looks in the wrong place", sources.len());
    sources
}

/// Everything that people and machines read: the source, the documents, the scripts, the settings.
pub fn everything() -> Vec<Source> {
    read_all(
        &root(),
        &["rs", "md", "toml", "sql", "sh", "bat", "yml", "yaml", "json", "js", "conf", "service", "txt", ""],
    )
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is built or kept there is not ours to judge.
const NOT_OURS: [&str; 9] =
    ["target", ".git", "data", "logs", "corpus", "artifacts", "coverage", "node_modules", "Cargo.lock"];

fn read_all(directory: &Path, extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().expect("an entry that was just read has a type");
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            found.extend(read_all(&path, extensions));
        } else if kind.is_file()
            && extensions.contains(&path.extension().unwrap_or_default().to_string_lossy().as_ref())
        {
            // What is not text has no words in it.
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(root()).expect("found below the root").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    /// The code of the program itself: `<crate>/src`.
    pub fn is_program(&self) -> bool {
        self.path.split('/').nth(1) == Some("src")
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// Numbered lines of code, without comments.
    pub fn code(&self) -> Vec<(usize, &str)> {
        code_of(&self.text)
    }

    /// The same up to the tests at the end of the file; nothing of a file that is all tests.
    pub fn code_without_tests(&self) -> Vec<(usize, &str)> {
        if self.path.split('/').any(|part| part == "tests" || part == "testing") || self.text.contains("#![cfg(test)]")
        {
            return Vec::new();
        }
        let end = self.text.find("\n#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        code_of(&self.text[..end])
    }

    /// Where `part` stands in the given lines, as `path:line`.
    pub fn places(&self, lines: &[(usize, &str)], holds: impl Fn(&str) -> bool) -> Vec<String> {
        lines
            .iter()
            .filter(|(_, line)| holds(line))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }

    /// Whether the code names this crate: `name::…` or `use name`, not as a part of a longer path.
    pub fn names_crate(&self, name: &str) -> bool {
        let name = name.replace('-', "_");
        self.code().iter().any(|(_, line)| {
            line.match_indices(&name).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + name.len()..]);
                let alone = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with("::");
                alone
                    && (after.starts_with("::")
                        || (before.trim_end().ends_with("use") && after.starts_with([';', ' '])))
            })
        })
    }
}

fn code_of(text: &str) -> Vec<(usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let code = numbered.filter(|(_, line)| !line.trim_start().starts_with("//"));
    // A comment behind code begins after a space; an address in a string does not.
    code.map(|(number, line)| (number, line.split(" // ").next().unwrap_or(line))).collect()
}
