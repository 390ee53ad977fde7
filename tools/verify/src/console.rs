//! Runs the console blocks of a document in the sandbox and compares.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use course::{Side, Step, program};

use crate::document::{Block, Document, Item};
use crate::matching::{difference, matches, may_match};
use crate::process::{self, Running};
use crate::report::{Outcome, Report, all_of};
use crate::sandbox::Sandbox;
use crate::{Env, Environment, Proof};

/// A command may include a cold release build, and a server may have to be built before
/// its first line.
const COMMAND_LIMIT: Duration = Duration::from_mins(10);

/// What a server prints about a request that has been answered.
const SERVER_LIMIT: Duration = Duration::from_secs(10);

/// A server's end after Ctrl-C: its requests in flight get 10 s.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The port that the text names.
const SHOWN_PORT: &str = ":9090";

/// What a line of `Try by hand` that starts a server shows, and any other.
const LISTENS: &str = "...\n[..]listening on http://[..]\n...\n";
const ANYTHING: &str = "...\n";

/// A command and the output that the text shows below it.
#[derive(Debug, PartialEq)]
struct Shown {
    line: usize,
    command: String,
    expected: String,
}

/// Runs the console blocks of `document`, which is the chapter of `step` or
/// another text, and acts on its directives.
pub fn run(
    proof: &Proof,
    document: &Document,
    step: Option<&Step>,
    report: &mut Report,
) -> Env<()> {
    let sandbox = proof.sandbox;
    sandbox.restore()?;
    let mut session = Session {
        proof,
        document,
        step,
        port: format!(":{}", free_port()?),
        server: None,
        lacks: None,
        report,
    };
    for item in &document.items {
        match item {
            Item::Directive(text, line) => {
                let outcome = session.obey(text);
                if outcome.is_err() {
                    let what = format!("{}:{line} <!-- verify: {text} -->", document.path);
                    session.report.prove(&what, || outcome);
                }
            }
            Item::Block(block) if block.language() == "console" => session.run(block),
            Item::Block(_) => {}
            Item::Try(commands, line) => session.try_by_hand(commands, *line),
        }
    }
    session.stop_server();
    let what = format!("{} leaves the tree as it was", document.path);
    session.report.prove(&what, || clean(sandbox));
    sandbox.restore()
}

struct Session<'a> {
    proof: &'a Proof<'a>,
    document: &'a Document,
    step: Option<&'a Step>,
    /// With a colon before it.
    port: String,
    server: Option<Running>,
    /// The program for want of which a command of this page was not run.
    lacks: Option<&'static str>,
    report: &'a mut Report,
}

impl Session<'_> {
    fn run(&mut self, block: &Block) {
        let at = format!("{}:{}", self.document.path, block.line);
        if block.info == "console server" {
            let started = Instant::now();
            let outcome = self.expect_from_server(&block.text, SERVER_LIMIT);
            return self.settle(&format!("{at} server prints"), started, outcome);
        }
        match parse(block) {
            Err(failure) => self.report.prove(&at, || Err(failure)),
            Ok((exit, commands)) => {
                for (index, shown) in commands.iter().enumerate() {
                    self.run_command(shown, exit.filter(|_| index + 1 == commands.len()));
                }
            }
        }
    }

    /// A command that was not run may be the reason why a later one shows something
    /// else, such as the rows that it should have stored.
    fn settle(&mut self, what: &str, started: Instant, outcome: Outcome) {
        match self.lacks {
            Some(program) if outcome.is_err() => self.report.not_run(program, what),
            _ => self.report.item(what, started, outcome),
        }
    }

    fn run_command(&mut self, shown: &Shown, exit: Option<i32>) {
        let what = format!("{}:{} $ {}", self.document.path, shown.line, shown.command);
        if let Some(program) = program::lacked_by(&shown.command) {
            self.lacks = Some(program);
            return self.report.not_run(program, &what);
        }
        // One whose end is announced does not stay.
        let serves = exit.is_none() && is_server(&shown.command);
        if serves {
            self.stop_server();
        }
        let started = Instant::now();
        let outcome = if serves {
            self.start_server(shown)
        } else {
            self.run_to_end(shown, exit.unwrap_or(0))
        };
        self.settle(&what, started, outcome);
    }

    /// What a reader is told to try works; it says itself what there is to see.
    fn try_by_hand(&mut self, commands: &[String], line: usize) {
        for command in commands {
            let expected = if is_server(command) {
                LISTENS
            } else {
                ANYTHING
            };
            let (command, expected) = (command.clone(), expected.to_owned());
            self.run_command(
                &Shown {
                    line,
                    command,
                    expected,
                },
                None,
            );
        }
        if commands.iter().any(|command| is_server(command)) {
            self.stop_server();
        }
    }

    fn command(&self, text: &str) -> Command {
        let mut command = self.proof.sandbox.command("bash");
        command
            .args(["-c", &text.replace(SHOWN_PORT, &self.port)])
            .env("MARKETSVC_ADDR", format!("127.0.0.1{}", self.port));
        command
    }

    /// Output as it would be with the port that the text names.
    fn as_shown(&self, output: &str) -> String {
        without_cargo(&output.replace(&self.port, SHOWN_PORT))
    }

    fn run_to_end(&self, shown: &Shown, exit: i32) -> Outcome {
        let mut command = self.command(&shown.command);
        let finished = process::run(&mut command, COMMAND_LIMIT, true)?;
        let output = self.as_shown(&finished.stdout);
        let Some(status) = finished.status else {
            let limit = COMMAND_LIMIT.as_secs();
            return Err(format!(
                "did not end within {limit} s; it printed\n{output}"
            ));
        };
        let mut failures = Vec::new();
        if status.code() != Some(exit) {
            failures.push(format!("{status}, expected exit code {exit}"));
        }
        let expected = without_cargo(&shown.expected);
        if !matches(&expected, &output) {
            failures.push(difference(&expected, &output));
        } else if !failures.is_empty() {
            failures.push(output);
        }
        if !finished.left.is_empty() {
            failures.push(format!("it left running:\n{}", finished.left.join("\n")));
        }
        all_of(failures)
    }

    fn start_server(&mut self, shown: &Shown) -> Outcome {
        if shown.expected.trim().is_empty() {
            return Err("show at least the line that says that it listens".into());
        }
        let server = Running::start(&mut self.command(&shown.command), true)?;
        self.server = Some(server);
        self.expect_from_server(&shown.expected, COMMAND_LIMIT)
    }

    fn expect_from_server(&mut self, expected: &str, limit: Duration) -> Outcome {
        let Some(mut server) = self.server.take() else {
            return Err("no server runs here".into());
        };
        let expected = without_cargo(expected);
        let outcome = server
            .expect(limit, |output| {
                let output = self.as_shown(output);
                let open = !matches(&expected, &output) && may_match(&expected, &output);
                (!open).then(|| matches(&expected, &output))
            })
            .map_err(|output| difference(&expected, &self.as_shown(&output)));
        self.server = Some(server);
        outcome
    }

    fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            let what = format!("{} server stops", self.document.path);
            self.report.prove(&what, || server.stop(STOP_LIMIT));
        }
    }

    fn obey(&mut self, directive: &str) -> Outcome {
        let sandbox = self.proof.sandbox;
        let step = self.step.ok_or("only a chapter has an exercise");
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words[..] {
            ["stop"] => self.stop_server(),
            // Read by parity.
            ["new", "start"] | ["continues:", _] => {}
            ["solved"] => sandbox.solve(step?)?,
            ["untouched"] => sandbox.put_back(&step?.crate_dir(Side::Exercise))?,
            ["patch", patch] => {
                let step = step?;
                sandbox.solve(step)?;
                let text = self.proof.tree.read(&format!("tools/verify/{patch}"))?;
                let [exercise, solution] = [Side::Exercise, Side::Solution]
                    .map(|side| format!("/{}/", step.crate_dir(side)));
                let text = step.as_exercise(&text).replace(&solution, &exercise);
                let applied = sandbox.apply(&text, &[]);
                applied.map_err(|Environment(git)| format!("it no longer applies:\n{git}"))?;
            }
            _ => return Err("there are solved, untouched, patch PATH and stop".into()),
        }
        Ok(())
    }
}

/// No documented command may leave the working tree changed. Exercises are the
/// learner's to change.
fn clean(sandbox: &Sandbox) -> Outcome {
    let status = sandbox.git(&["status", "--porcelain", "--untracked-files=all"])?;
    let foreign = status.lines().filter(|line| !line.contains("/exercise/"));
    all_of(foreign.map(str::to_owned))
        .map_err(|files| format!("its commands change files that git would show:\n{files}"))
}

/// Reads a console block: the exit code that the last of its commands must have, if it
/// says one, and the commands.
fn parse(block: &Block) -> Result<(Option<i32>, Vec<Shown>), String> {
    let mut exit = None;
    if let Some((_, setting)) = block.info.split_once(' ') {
        let code = setting.strip_prefix("exit=").and_then(|it| it.parse().ok());
        let rule = || format!("`{setting}`: there are `exit=N` and `server`");
        exit = Some(code.ok_or_else(rule)?);
    }
    let mut commands: Vec<Shown> = Vec::new();
    let mut continued = false;
    for (index, line) in block.text.lines().enumerate() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (_, Some(last)) if continued => last.command.extend(["\n", line]),
            (Some(command), _) => commands.push(Shown {
                line: block.line + 1 + index,
                command: command.to_owned(),
                expected: String::new(),
            }),
            (None, Some(last)) => {
                last.expected.extend([line, "\n"]);
                continue;
            }
            (None, None) => return Err("the first line must be a command: `$ …`".into()),
        }
        continued = line.ends_with('\\');
    }
    Ok((exit, commands))
}

/// The numbers of the steps that the commands and directives of `page` may be about, or
/// `None` when one of them may be about all steps.
pub fn depends_on(page: &Document) -> Option<BTreeSet<String>> {
    let mut numbers = BTreeSet::new();
    for item in &page.items {
        let lines: Vec<&str> = match item {
            Item::Block(block) if block.language() == "console" => block.text.lines().collect(),
            Item::Block(_) | Item::Directive(..) => continue,
            Item::Try(commands, _) => commands.iter().map(String::as_str).collect(),
        };
        for line in lines {
            let runs = line.split(|letter: char| !letter.is_ascii_digit());
            let mut runs = runs.filter(|run| (1..=2).contains(&run.len())).peekable();
            // `./run.sh list` may be about all steps. A number that is not a step's does
            // no harm.
            if runs.peek().is_none() && (line.contains("run.sh") || line.contains("cargo")) {
                return None;
            }
            numbers.extend(runs.map(|run| format!("{run:0>2}")));
        }
    }
    Some(numbers)
}

/// Whether `command` starts a service that stays: `./run.sh run …`, with or
/// without settings before it and pipes after it.
fn is_server(command: &str) -> bool {
    let mut words = command
        .split_whitespace()
        .skip_while(|word| word.contains('=') && !word.starts_with(['.', '/']));
    if words.next() != Some("./run.sh") || words.next() != Some("run") {
        return false;
    }
    let numbered = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = words.filter(|word| !["--solution", "--release"].contains(word));
    let program = words.next().is_some_and(numbered)
        && words
            .next()
            .is_some_and(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()));
    !program
}

/// Leaves out cargo's own progress, which depends on what was built before.
fn without_cargo(text: &str) -> String {
    const PROGRESS: &str = "Adding Blocking Compiling Downloaded Downloading Finished Locking \
                            Running Updating";
    text.lines()
        .filter(|line| {
            let verb = line.trim_start().split(' ').next().unwrap_or_default();
            !(line.starts_with(' ') && PROGRESS.split(' ').any(|it| it == verb))
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// A port that nobody uses. It is taken from below the range that systems hand
/// out by themselves, so that no client of another program gets it in between.
pub fn free_port() -> Env<u16> {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    (first..first + 1_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no free port".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(info: &str, text: &str) -> Block {
        Block {
            info: info.to_owned(),
            text: text.to_owned(),
            line: 7,
        }
    }

    #[test]
    fn an_end_may_be_announced_as_good() {
        for (info, announced) in [("console", None), ("console exit=0", Some(0))] {
            let (exit, _) = parse(&block(info, "$ ./run.sh run 01 a\n")).expect(info);
            assert_eq!(exit, announced, "{info}");
        }
    }

    #[test]
    fn a_console_block_is_read() {
        let text = "$ one\nout\n\n$ two \\\n  $ more\nlast\n";
        let (exit, commands) = parse(&block("console exit=1", text)).expect("read");
        assert_eq!(exit, Some(1));
        assert_eq!(
            commands,
            [
                Shown {
                    line: 8,
                    command: "one".into(),
                    expected: "out\n\n".into()
                },
                Shown {
                    line: 11,
                    command: "two \\\n  $ more".into(),
                    expected: "last\n".into()
                }
            ]
        );
    }

    #[test]
    fn a_malformed_console_block_is_refused() {
        for (info, text, reason) in [
            ("console", "out\n$ one\n", "must be a command"),
            ("console exit=x", "$ one\n", "`exit=x`"),
            ("console quiet", "$ one\n", "`quiet`"),
        ] {
            let failure = parse(&block(info, text)).expect_err(info);
            assert!(failure.contains(reason), "{failure}");
        }
    }

    #[test]
    fn servers_are_told_from_other_commands() {
        for server in [
            "./run.sh run",
            "./run.sh run 05 --solution",
            "RUST_LOG=sqlx=info ./run.sh run 05",
            "A=1 B=2 ./run.sh run 2>&1 | grep --line-buffered x",
            "./run.sh run 05 --addr localhost:9090 2>&1 | grep x",
            "./run.sh run 05 | grep x",
        ] {
            assert!(is_server(server), "{server}");
        }
        for other in [
            "./run.sh customers",
            "curl x",
            "./run.sh",
            "echo ./run.sh run",
            "./run.sh run 01 tasks",
            "RUST_LOG=debug ./run.sh run 1 --solution tasks --real | cat",
        ] {
            assert!(!is_server(other), "{other}");
        }
    }

    #[test]
    fn the_steps_that_a_command_depends_on_are_known() {
        let named = |command: &str| {
            let text = format!("```console\n$ {command}\n```\n");
            let numbers = depends_on(&Document::parse("a.md", text));
            numbers.map(|named| Vec::from_iter(named).join(" "))
        };
        for (command, steps) in [
            ("./run.sh check 05 'a name'", "05"),
            ("./run.sh run 3 --solution 2>&1 | grep 100", "01 02 03"),
            ("./run.sh diff 04 05", "04 05"),
            ("curl -sS http://127.0.0.1:9090/", "00 01"),
            ("cargo run -q -p step07-exercise --example slow", "07"),
            ("ls", ""),
        ] {
            assert_eq!(named(command).as_deref(), Some(steps), "{command}");
        }
        for all in ["./run.sh list", "./run.sh check", "cargo build --workspace"] {
            assert_eq!(named(all), None, "{all}");
        }
    }

    #[test]
    fn cargo_progress_does_not_count() {
        let output = "   Compiling a v0.1.0\n    Finished `dev` profile\nFinished early\nRunning\n";
        assert_eq!(without_cargo(output), "Finished early\nRunning\n");
    }
}
