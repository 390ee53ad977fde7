//! The program, on a project of two pages and a step.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The files of the project.
const FILES: [(&str, &str); 5] = [
    (
        "book/book.toml",
        "[book]\ntitle = \"a\"\nsrc = \".\"\n[build]\nbuild-dir = \"../target/book\"\n\
         use-default-preprocessors = false\n",
    ),
    (
        "book/SUMMARY.md",
        "[First](../README.md)\n\n- [01](../steps/01-a/README.md)\n",
    ),
    (
        "README.md",
        "# First\n\n[step](steps/01-a/README.md#what)\n",
    ),
    (
        "steps/01-a/README.md",
        "# 01\n\n## What\n\n```mermaid\nflowchart LR\n```\n",
    ),
    ("steps/01-a/solution/notes.txt", ""),
];

fn project() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, text) in FILES {
        write(folder.path(), file, text);
    }
    folder
}

fn write(root: &Path, file: &str, text: &str) {
    let file = root.join(file);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, text).expect("a file");
}

fn program(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_book"));
    // Without npm.
    command
        .args(["--no-open", "--root"])
        .arg(root)
        .env("PATH", "");
    command
}

/// What it prints, on stdout and on stderr, and whether it ends with 0.
fn book(root: &Path) -> (String, String, bool) {
    let output = program(root).output().expect("book");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    )
}

#[test]
fn without_npm_the_book_shows_the_text_of_diagrams() {
    let project = project();
    let (printed, said, succeeded) = book(project.path());
    assert!(succeeded, "{said}");
    let first = project
        .path()
        .canonicalize()
        .expect("a path")
        .join("target/book/index.html");
    assert_eq!(printed, format!("{}\n", first.display()));
    assert_eq!(
        said,
        "diagrams are shown as text: npm could not get Mermaid\n"
    );
    let page = |name: &str| fs::read_to_string(first.with_file_name(name)).expect("a page");
    assert!(page("index.html").contains("<a href=\"01-a.html#what\">step</a>"));
    assert!(
        page("01-a.html")
            .contains("<pre><code class=\"language-text\">flowchart LR\n</code></pre>")
    );
}

#[test]
fn what_is_wrong_with_a_page_fails_the_build() {
    for (file, text, expected) in [
        (
            "README.md",
            "[step](steps/01-a/README.md#gone)\n",
            "index.html: 01-a.html#gone: there is no such place in the page",
        ),
        (
            "README.md",
            "[step](steps/02-b/README.md)\n",
            "README.md: the link to steps/02-b/README.md: there is no steps/02-b/README.md",
        ),
        (
            "book/SUMMARY.md",
            "[First](../README.md)\n",
            "book/SUMMARY.md does not name steps/01-a/README.md",
        ),
        (
            "steps/01-a/README.md",
            "## What\n\n## Predict\n\n**1.** Why?\n",
            "steps/01-a/README.md: ## Predict, question 1: needs the lines",
        ),
    ] {
        let project = project();
        write(project.path(), file, text);
        let (_, said, succeeded) = book(project.path());
        assert!(!succeeded && said.contains(expected), "{expected}: {said}");
    }
}

/// Ends the program with the test.
struct Served {
    child: Child,
    address: String,
    printed: BufReader<ChildStdout>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(root: &Path) -> Served {
    let mut child = program(root)
        .args(["--serve", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("book");
    let mut printed = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    printed.read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("the book is at http://");
    let address = address
        .and_then(|it| it.strip_suffix('/'))
        .expect("an address");
    Served {
        address: address.to_owned(),
        child,
        printed,
    }
}

/// The answer to a request, with its head.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_save_builds_the_served_book_again() {
    let project = project();
    let mut served = serve(project.path());
    let address = served.address.clone();
    let page = get(&address, "/");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("fetch('/next-build')"),
        "{page}"
    );
    for outside in ["/../../README.md", "/%2e%2e/%2e%2e/README.md", "/gone.html"] {
        assert!(
            get(&address, outside).starts_with("HTTP/1.1 404"),
            "{outside}"
        );
    }

    let waits = thread::spawn({
        let address = address.clone();
        move || get(&address, "/next-build")
    });
    write(project.path(), "README.md", "# Second\n");
    assert!(waits.join().expect("an answer").starts_with("HTTP/1.1 204"));
    assert!(get(&address, "/").contains("Second"));

    // A page that is wrong for a while ends nothing.
    write(project.path(), "README.md", "[a](gone.md)\n");
    thread::sleep(Duration::from_millis(600));
    write(project.path(), "README.md", "# The third\n");
    let mut line = String::new();
    while line != "built again\n" || !get(&address, "/").contains("The third") {
        line.clear();
        served.printed.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the program has ended");
    }
}
