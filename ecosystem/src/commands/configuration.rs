//! `rookery config`: the table of settings, made from the code that reads them, so that it cannot be wrong.

use super::{read_config, secret_is_given, with_stand_ins};
use crate::cli;
use crate::config::{NAMES, Surroundings};
use crate::{database, say};
use anyhow::Result;
use shared::config::{Config, Environment, Setting};
use std::process::ExitCode;

pub fn run(arguments: &cli::Config, surroundings: &Surroundings) -> Result<ExitCode> {
    if arguments.env_example {
        say::text(env_example())?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.markdown {
        say::text(markdown())?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = &surroundings.settings;
    let head = ["NAME", "VALUE", "MEANING"].map(str::to_owned).to_vec();
    let rows =
        Config::table().into_iter().map(|row| vec![row.name.to_owned(), value(&row, settings), row.meaning.to_owned()]);
    say::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    // The table is shown whatever is wrong with it; the errors follow, and decide the exit code.
    read_config(&with_stand_ins(settings)).map(|_| ExitCode::SUCCESS)
}

fn value(row: &Setting, settings: &Environment) -> String {
    let set = std::iter::once(&row.name).chain(row.aliases).find_map(|name| settings.get(name));
    let made_by_up = match row.name {
        "JWT_SECRET" => !secret_is_given(settings),
        "DATABASE_URL" => !database::is_given(settings),
        _ => false,
    };
    match set {
        Some(_) if row.secret => "(set)".to_owned(),
        Some(value) => value.to_owned(),
        None if made_by_up => "(made by up)".to_owned(),
        None if row.default.is_empty() => "-".to_owned(),
        None => format!("{} (default)", row.default),
    }
}

/// The file `.env.example`: every setting, at its default, switched off.
pub fn env_example() -> String {
    let mut out = String::from(
        "# Rookery's settings. Copy to .env and take the # off what you change; the process's own environment wins.\n\
         # Made by `rookery config --env-example`.\n",
    );
    for row in Config::table() {
        let also = if row.aliases.is_empty() { String::new() } else { format!(" (also: {})", row.aliases.join(", ")) };
        out.push_str(&format!("\n# {}{also}\n#{}={}\n", row.meaning, row.name, row.default));
    }
    out
}

/// The page `docs/configuration.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         Read once at start from the environment and from `.env`, where the environment wins. Every error is reported at once,\n\
         with exit code 64. Made by `rookery config --markdown`; a test keeps it true.\n\n\
         | name | default | meaning |\n| --- | --- | --- |\n",
    );
    let cell = |text: &str| text.replace('|', "\\|");
    for row in Config::table() {
        let names: Vec<String> =
            std::iter::once(&row.name).chain(row.aliases).map(|name| format!("`{name}`")).collect();
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        let secret = if row.secret { " (secret)" } else { "" };
        out.push_str(&format!("| {} | {default} | {}{secret} |\n", names.join(" "), cell(row.meaning)));
    }
    out.push_str("\nThe program `rookery` itself also reads:\n\n| name | meaning |\n| --- | --- |\n");
    for (name, meaning) in NAMES {
        out.push_str(&format!("| `{name}` | {} |\n", cell(meaning)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let settings = Environment::of([("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("PORT", "8080")]);
        let shown: Vec<String> = Config::table().iter().map(|row| value(row, &settings)).collect();
        assert!(shown.iter().all(|value| !value.contains("0123456789")));
        assert!(shown.contains(&"8080".to_owned()) && shown.contains(&"(set)".to_owned()));
    }

    #[test]
    fn the_example_reads_back_as_nothing_set() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".env"), env_example()).unwrap();
        assert!(shared::config::read_env_file(&directory.path().join(".env")).unwrap().is_empty());
    }
}
