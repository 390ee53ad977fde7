//! What ran when, as lanes over time.
//!
//! A program marks its pieces of work with [`lane`] and says what it does with
//! `tracing::info!`. Its `main` calls [`narrate`] or [`record`], once:
//!
//! ```
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true)
//! #     .build().unwrap().block_on(async {
//! let timeline = timeline::narrate("two at once");
//! let milk = timeline::lane("milk", tokio::time::sleep(Duration::from_millis(20)));
//! let bread = timeline::lane("bread", tokio::time::sleep(Duration::from_millis(10)));
//! tokio::join!(milk, bread);
//! tracing::info!("both are here");
//! drop(timeline);
//! # });
//! ```
//!
//! prints a line like `   10 ms  bread        ends` for each event.
//!
//! With [`TEXT`] or [`SVG`] in its environment it draws a picture at its end
//! instead; `./run.sh trace` sets them. Time is that of `tokio::time::Instant`: under
//! tokio's paused clock a picture is the same to the byte in each run.
//!
//! A picture also shows the connections to SQLite, one lane each: sqlx runs every
//! connection on a thread of its own, and enters the span that a statement was sent
//! from while it executes it. [`count`] adds a quantity over time.

mod bars;
mod draw;
mod recorder;
mod svg;
mod text;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, process};

use tracing::{Instrument, Span, dispatcher, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

pub use bars::{Amount, bars_as_svg, bars_as_text};
pub use draw::Curve;
use draw::{End, Picture};
use recorder::{Piece, Recorder};

/// The variable that asks for a drawing on stdout; any value that is not empty.
pub const TEXT: &str = "MARKETSVC_TIMELINE_TEXT";

/// The variable that asks for a picture; its value is the file to write.
pub const SVG: &str = "MARKETSVC_TIMELINE_SVG";

/// Ends the recording when dropped, and draws what was asked for.
#[must_use = "what happens after it is dropped is not drawn"]
pub struct Timeline(Option<(String, Recorder)>);

fn asked(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// Prints a line per event from now on, with the milliseconds that have passed
/// and the lane; or draws, where [`TEXT`] or [`SVG`] asks for that. Call it inside
/// the runtime, whose clock it uses, and before the process has a subscriber.
pub fn narrate(title: &str) -> Timeline {
    start(title, true)
}

/// As [`narrate`], but prints nothing; without [`TEXT`] and [`SVG`] it does nothing,
/// so a program can set another subscriber then.
pub fn record(title: &str) -> Timeline {
    start(title, false)
}

fn start(title: &str, narrate: bool) -> Timeline {
    let draws = asked(TEXT).or(asked(SVG)).is_some();
    if !draws && !narrate {
        return Timeline(None);
    }
    let recorder = Recorder::new(!draws);
    let subscriber = Registry::default().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber)
        .expect("a program starts its timeline before any other subscriber");
    Timeline(Some((title.to_owned(), recorder)))
}

impl Drop for Timeline {
    fn drop(&mut self) {
        let Some((title, recorder)) = self.0.take() else {
            return;
        };
        let file = asked(SVG).map(PathBuf::from);
        if let Err(error) = draw(&recorder.finish(&title), file.as_deref()) {
            eprintln!("{}: {error}", file.unwrap_or_default().display());
            process::exit(3);
        }
    }
}

/// Prints the picture where [`TEXT`] asks for that, and writes it to the file.
fn draw(picture: &Picture, file: Option<&Path>) -> io::Result<()> {
    if asked(TEXT).is_some() {
        print!("{}", text::draw(picture));
    }
    file.map_or(Ok(()), |file| fs::write(file, svg::draw(picture)))
}

/// Draws curves above one time axis, as high as the greatest value of all of them, where
/// [`TEXT`] or [`SVG`] asks for that. With a `part` the picture goes into a file beside
/// the one that [`SVG`] names: `13-PART.svg` beside `13.svg`. Returns the file.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_curves(
    title: &str,
    curves: &[Curve],
    part: Option<&str>,
) -> io::Result<Option<PathBuf>> {
    let values = || curves.iter().flat_map(|curve| curve.values.iter().copied());
    let end = values().map(|(at, _)| at).max().unwrap_or_default();
    let full = values().map(|(_, value)| value).max().unwrap_or_default();
    let picture = Picture {
        title: title.to_owned(),
        tracks: curves.to_vec(),
        full,
        end,
        ..Picture::default()
    };
    let mut file = asked(SVG).map(PathBuf::from);
    if let (Some(file), Some(part)) = (&mut file, part) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        file.set_file_name(format!("{stem}-{part}.svg"));
    }
    draw(&picture, file.as_deref())?;
    Ok(file)
}

/// Does `work` in a lane called `name`. The lane begins when the future is
/// polled for the first time, and ends with it: done, dropped before its end, or
/// by a panic.
///
/// # Cancel safety
/// That of `work`.
pub fn lane<F: Future>(name: impl Display, work: F) -> impl Future<Output = F::Output> {
    let name = name.to_string();
    async move {
        let mut open = Open::new(&name, false);
        let result = work.instrument(open.span.clone()).await;
        open.done = true;
        result
    }
}

/// Does `work`, which is not async, in a lane called `name`.
pub fn blocking_lane<T>(name: impl Display, work: impl FnOnce() -> T) -> T {
    let mut open = Open::new(&name.to_string(), true);
    let result = open.span.in_scope(work);
    open.done = true;
    result
}

/// Notes that the quantity `name` is `value` from now on.
pub fn count(name: &str, value: u64) {
    with_recorder(|recorder| recorder.count(name, value));
}

/// Notes a piece of work that has ended already, in the lane called `name`. The picture
/// shows its `label` where there is room. Clocks must not be paused.
pub fn past(name: &str, label: &str, from: Instant, to: Instant) {
    with_recorder(|recorder| recorder.past(name, label, from, to));
}

fn with_recorder(work: impl Fn(&Recorder)) {
    dispatcher::get_default(|dispatch| dispatch.downcast_ref().map(&work));
}

/// A lane's piece of work. Its end is not the end of the span: others may keep a span,
/// as sqlx's threads do.
struct Open {
    span: Span,
    piece: Option<Piece>,
    done: bool,
}

impl Open {
    fn new(name: &str, blocking: bool) -> Self {
        // No parent: a lane within a lane is drawn as its neighbour.
        let span = info_span!(parent: None, "lane", name);
        let piece = span.with_subscriber(|(id, dispatch)| {
            let piece = dispatch.downcast_ref::<Recorder>()?.begin(name, blocking)?;
            let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
            span.extensions_mut().insert(piece);
            Some(piece)
        });
        let piece = piece.flatten();
        Self {
            span,
            piece,
            done: false,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let end = match (self.done, std::thread::panicking()) {
            (true, _) => End::Done,
            (false, true) => End::Panicked,
            (false, false) => End::Dropped,
        };
        if let Some(piece) = self.piece {
            with_recorder(|recorder| recorder.end(piece, end));
        }
    }
}
