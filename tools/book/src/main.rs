//! Builds the book from the chapters, which stay where they are: `./run.sh book`.
//!
//! Reading order: [`make`] loads the pages that `book/SUMMARY.md` names and lets mdBook
//! render them, [`page`] makes a page of the book from one of the project, [`quiz`] does
//! so for its questions, [`mermaid`] gets what draws the diagrams, [`links`] checks what
//! came out, and [`serve`] shows it while it is being written.
//!
//! Exit codes: 0 built, 1 a page is wrong (a broken link, for example), 2 wrong usage.

mod links;
mod make;
mod mermaid;
mod page;
mod quiz;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

#[derive(Parser)]
#[command(
    name = "book",
    bin_name = "./run.sh book",
    about = "Builds the book and opens it in the browser",
    after_help = "Examples:\n  ./run.sh book             build it and open it\n  ./run.sh book --no-open   only build it\n  ./run.sh book --serve     build it again at every save, until Ctrl-C"
)]
struct Arguments {
    /// Only print where the book is, and do not open it
    #[arg(long)]
    no_open: bool,
    /// Serve the book on this machine, and reload its pages at every save
    #[arg(long)]
    serve: bool,
    /// The port to serve at; 0 takes a free one
    #[arg(long, default_value_t = 3000, requires = "serve")]
    port: u16,
    /// The project's folder
    #[arg(long, value_name = "DIR", default_value = ".", hide = true)]
    root: PathBuf,
}

fn main() -> ExitCode {
    // mdBook warns of HTML that does not close, for example.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.serve {
        return serve::serve(&arguments.root, arguments.port, !arguments.no_open);
    }
    let first = make::make(&arguments.root)?.folder.join("index.html");
    println!("{}", first.display());
    if !arguments.no_open {
        open(&first.to_string_lossy());
    }
    Ok(())
}

/// Opens a file or a URL. That nothing can is no failure: the line above says where it is.
fn open(target: &str) {
    if let Err(error) = open::that_detached(target) {
        eprintln!("it could not be opened: {error}");
    }
}
