//! The steps of a walk-through on a page. A fence's first word says what a block is (`sh` is pasted, `text` typed into what
//! runs, `json` printed, a line each), the second one where: `terminal-2`, else the first. Ctrl-C is a comment.

use crate::terminal::Terminal;
use std::path::Path;

const CTRL_C: &str = "<!-- terminal-2: Ctrl-C -->";

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the first terminal, and waited for.
    Paste {
        block: String,
    },
    /// Into the second one, where something goes on running.
    Enter {
        text: String,
    },
    Expect {
        second: bool,
        pattern: String,
    },
    CtrlC,
}

pub fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut open) = (Vec::new(), None::<(String, String)>);
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), block @ Some(_)) => {
                let (fence, text) = block.take().unwrap();
                steps.extend(of_block(&fence, &text));
            }
            (Some(fence), None) => open = Some((fence.to_owned(), String::new())),
            (None, Some((_, text))) => text.extend([line, "\n"]),
            (None, None) if line.contains(CTRL_C) => steps.push(Step::CtrlC),
            (None, None) => {}
        }
    }
    steps
}

fn of_block(fence: &str, text: &str) -> Vec<Step> {
    let block = text.to_owned();
    match fence {
        "sh" => vec![Step::Paste { block }],
        "sh terminal-2" | "text terminal-2" => vec![Step::Enter { text: block }],
        "json" | "json terminal-2" => {
            let second = fence.ends_with("terminal-2");
            text.lines().map(|line| Step::Expect { second, pattern: line.to_owned() }).collect()
        }
        other => panic!("a walk-through has no blocks of the kind {other:?}"),
    }
}

/// Both terminals are open in this directory.
pub fn walk(steps: &[Step], directory: &Path) -> Result<(), String> {
    let (mut first, mut second) = (Terminal::open(directory), Terminal::open(directory));
    for step in steps {
        match step {
            Step::Paste { block } => first.run(block)?,
            Step::Enter { text } => second.enter(text),
            Step::Expect { second: false, pattern } => first.expect(pattern)?,
            Step::Expect { second: true, pattern } => second.expect(pattern)?,
            Step::CtrlC => second.ctrl_c()?,
        }
    }
    Ok(())
}
