//! A terminal: a shell that blocks are pasted into, and everything that it has printed.

use crate::stage::eventually;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
/// Printed after a block; no server says this.
const DONE: &str = "-- the block is done --";

pub struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
    /// What has been printed and is not over yet.
    printed: Vec<String>,
    /// Something runs in it that may print more.
    busy: bool,
}

impl Terminal {
    /// A shell that ends at the first error, so that nothing fails unseen.
    pub fn open(directory: &Path) -> Self {
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin");
        // A group of its own, as each terminal has: Ctrl-C goes to all of it.
        let mut shell = bash.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(b"set -euo pipefail; exec 2>&1\n").unwrap();
        let (say, output) = channel();
        let lines = BufReader::new(shell.stdout.take().unwrap()).lines().map_while(Result::ok);
        std::thread::spawn(move || lines.for_each(|line| drop(say.send(line))));
        Self { shell, input, output, printed: Vec::new(), busy: false }
    }

    /// Types something, and does not wait for what comes of it.
    pub fn enter(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
        self.busy = true;
    }

    /// Pastes a block and waits until all of it is done.
    pub fn run(&mut self, block: &str) -> Result<(), String> {
        self.printed.clear();
        self.enter(block);
        self.finish()
            .map_err(|why| format!("this block failed ({why}):\n{block}and printed:\n{}", self.printed.join("\n")))
    }

    /// What is in the foreground is told to end, and does.
    pub fn ctrl_c(&mut self) -> Result<(), String> {
        let group = rustix::process::Pid::from_raw(self.shell.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
        // What is typed before would be its input, and not the shell's.
        let children = format!("/proc/{0}/task/{0}/children", self.shell.id());
        eventually("the foreground to end", || std::fs::read_to_string(&children).unwrap().trim().is_empty());
        self.finish().map_err(|why| format!("did not end well at Ctrl-C ({why}): {}", self.printed.join("\n")))
    }

    /// Until the shell takes the next command.
    fn finish(&mut self) -> Result<(), String> {
        // On a line of its own, whatever was printed before.
        self.enter(&format!("printf '\\n%s\\n' '{DONE}'\n"));
        let start = Instant::now();
        loop {
            match self.next(start)? {
                line if line == DONE => break,
                line => self.printed.push(line),
            }
        }
        self.busy = false;
        Ok(())
    }

    /// A line that is like this, `…` standing for anything; what was printed before it is over then.
    pub fn expect(&mut self, pattern: &str) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.printed.iter().position(|line| is_like(line, pattern)) {
                self.printed.drain(..=at);
                return Ok(());
            }
            let next = if self.busy { self.next(start) } else { Err("nothing runs".into()) };
            match next {
                Ok(line) => self.printed.push(line),
                Err(why) => {
                    return Err(format!("never printed ({why}):\n{pattern}\nbut:\n{}", self.printed.join("\n")));
                }
            }
        }
    }

    fn next(&self, start: Instant) -> Result<String, String> {
        self.output.recv_timeout(DEADLINE.saturating_sub(start.elapsed())).map_err(|error| error.to_string())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.shell.id().try_into().unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.shell.wait();
    }
}

fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn dots_stand_for_anything() {
    for (pattern, like) in
        [("a…c", true), ("abc", true), ("…b…", true), ("ab", false), ("a…d", false), ("b…", false), ("ab…bc", false)]
    {
        assert_eq!(is_like("abc", pattern), like, "{pattern}");
    }
}
