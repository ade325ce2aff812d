//! Reads settings by name, keeps every error instead of stopping at the first, and writes the table as it goes.

use std::{collections::BTreeMap, fmt, path::Path};

/// Where settings come from. Real processes pass the environment over a `.env` file, tests pass pairs.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// The process's environment over the `.env` file of this directory, where there is one.
    pub fn of_process(directory: &Path) -> Result<Self, ConfigError> {
        let mut values = read_env_file(&directory.join(".env"))?;
        values.extend(std::env::vars());
        Ok(Self { values })
    }

    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { values: pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// An empty value counts as absent: compose files pass unset variables on as empty ones.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// `NAME=value` lines; `#` begins a comment line, `export ` is allowed, one pair of quotes around a value is taken off.
pub fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ConfigError { name: ".env".into(), problem: error.to_string() }),
    };
    let mut values = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            let problem = format!("line {} is not NAME=value", number + 1);
            return Err(ConfigError { name: ".env".into(), problem });
        };
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
        values.insert(name.trim().to_owned(), quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned());
    }
    Ok(values)
}

/// One setting that is missing or wrong: one readable line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    pub name: String,
    pub problem: String,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: &'static str,
    /// Names that mean the same, taken where `name` is not set.
    pub aliases: &'static [&'static str],
    pub default: &'static str,
    pub meaning: &'static str,
    pub secret: bool,
}

/// A value that never reaches a log or a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Reads one environment and remembers what it read and what was wrong.
pub(super) struct Reader<'a> {
    env: &'a Environment,
    pub errors: Vec<ConfigError>,
    pub table: Vec<Setting>,
}

impl<'a> Reader<'a> {
    pub fn new(env: &'a Environment) -> Self {
        Self { env, errors: vec![], table: vec![] }
    }

    pub fn fail(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError { name: name.to_owned(), problem: problem.into() });
    }

    /// The text of a setting, by its name or one of its aliases; the table gets a row.
    pub fn text(&mut self, setting: Setting) -> Option<String> {
        let found = std::iter::once(&setting.name).chain(setting.aliases).find_map(|name| self.env.get(name));
        let default = (!setting.default.is_empty()).then_some(setting.default);
        let value = found.or(default).map(str::to_owned);
        self.table.push(setting);
        value
    }

    /// A setting that parses; a wrong one is an error and reads as its default.
    pub fn parsed<T>(&mut self, setting: Setting, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (name, default) = (setting.name, setting.default);
        let text = self.text(setting)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.fail(name, problem);
                parse(default).ok()
            }
        }
    }

    /// A whole number within bounds, with a default.
    pub fn number(&mut self, setting: Setting, range: std::ops::RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        self.parsed(setting, |text| match text.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {low} to {high}")),
        })
        .unwrap_or(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_with_comments_and_quotes() {
        let dir = std::env::temp_dir().join(format!("rookery-env-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(".env"), "# one\nA=1\n export B=\"two words\"\nC='x=y'\n\nD=\n").unwrap();
        let values = read_env_file(&dir.join(".env")).unwrap();
        assert_eq!(values["A"], "1");
        assert_eq!(values["B"], "two words");
        assert_eq!(values["C"], "x=y");
        assert_eq!(Environment { values }.get("D"), None);
        std::fs::write(dir.join(".env"), "A=1\nnonsense\n").unwrap();
        assert_eq!(read_env_file(&dir.join(".env")).unwrap_err().to_string(), ".env: line 2 is not NAME=value");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "(secret)");
    }
}
