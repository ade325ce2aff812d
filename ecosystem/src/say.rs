//! The program's own words to a terminal, and the only place that prints. Results go to standard output, so that they
//! can be piped; progress and complaints go to standard error. Logs do not come here: they go through `tracing`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

/// One line of a result. A reader that has gone away is no reason to end a server, nor to panic as `println!` would.
pub fn line(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Text that brings its own line ends; an error says that nobody reads any more.
pub fn text(text: impl Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush())
}

/// What is being done, for who watches; never part of a result.
pub fn progress(text: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "rookery: {text}"));
}

/// Somebody else's words, as they are; never part of a result.
pub fn aside(text: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Why it did not work: one readable line.
pub fn failure(text: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "rookery: {text}"));
}

/// Asks the terminal for a line without showing it, whatever standard input and output are.
pub fn secret(question: &str) -> std::io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &shown)?;
    terminal.write_all(b"\n")?;
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Columns as wide as their widest cell; the last one is left as it is.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut out = String::new();
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count() + 2));
            }
        }
        line(out.trim_end());
    }
}
