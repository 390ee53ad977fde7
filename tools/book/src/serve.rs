//! Shows the book on this machine, and builds it again at every save.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::make::{self, Made};
use crate::open;

/// How often the sources are looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// What a page gets besides: it waits for the next build, and loads again.
const RELOAD: &str =
    "<script>fetch('/next-build').then(() => location.reload()).catch(() => {})</script>";

#[derive(Clone)]
struct Site {
    folder: PathBuf,
    /// How often the book was built.
    builds: watch::Receiver<u32>,
}

/// Serves the book of the project in `root` until the program is ended. Only this machine
/// can reach it. `opens` also opens it in the browser.
///
/// # Errors
///
/// The first build fails, or the port is taken. A later build that fails is only reported:
/// it is tried again after the next save.
pub fn serve(root: &Path, port: u16, opens: bool) -> Result<()> {
    let sources = Sources::of(root);
    let mut seen = sources.look();
    let Made { folder } = make::make(root)?;
    let (built, builds) = watch::channel(0);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} (--port chooses another one)"))?;
        let url = format!("http://{}/", listener.local_addr()?);
        println!("the book is at {url}");
        if opens {
            open(&url);
        }
        let root = root.to_path_buf();
        // The program ends by a signal, and this thread with it.
        thread::spawn(move || {
            loop {
                thread::sleep(PAUSE);
                let now = sources.look();
                if now == seen {
                    continue;
                }
                seen = now;
                match make::make(&root) {
                    Ok(_) => println!("built again"),
                    Err(error) => eprintln!("{error:#}"),
                }
                built.send_modify(|count| *count += 1);
            }
        });
        let app = Router::new()
            .route("/", get(|site| file(UrlPath("index.html".into()), site)))
            .route("/next-build", get(next_build))
            .route("/{*path}", get(file))
            .with_state(Site { folder, builds });
        Ok(axum::serve(listener, app).await?)
    })
}

/// Answers after the next build.
async fn next_build(State(site): State<Site>) -> StatusCode {
    let mut builds = site.builds;
    builds.mark_unchanged();
    // The program ends before the sender does.
    let _ = builds.changed().await;
    StatusCode::NO_CONTENT
}

async fn file(UrlPath(path): UrlPath<String>, State(site): State<Site>) -> Response {
    let path = Path::new(&path);
    let below = path
        .components()
        .all(|it| matches!(it, Component::Normal(_)));
    let Some(content) = below
        .then(|| fs::read(site.folder.join(path)).ok())
        .flatten()
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kind = match path.extension().and_then(|end| end.to_str()) {
        Some("html") => {
            let page = String::from_utf8_lossy(&content).into_owned() + RELOAD;
            return Html(page).into_response();
        }
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], content).into_response()
}

/// What the book is made from.
struct Sources(Vec<PathBuf>);

/// When each file was written, and its length: enough to notice a save.
type Seen = BTreeMap<PathBuf, (SystemTime, u64)>;

impl Sources {
    fn of(root: &Path) -> Self {
        let places = [
            "README.md",
            "CONTRIBUTING.md",
            "book",
            "steps",
            "marketsvc",
            "tools",
            "data",
        ];
        Self(places.map(|place| root.join(place)).into())
    }

    fn look(&self) -> Seen {
        let mut seen = Seen::new();
        for place in &self.0 {
            look(place, &mut seen);
        }
        seen
    }
}

/// Looks at a file or at all files below a folder that can be part of a book.
fn look(path: &Path, seen: &mut Seen) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            look(&entry.path(), seen);
        }
        return;
    }
    let end = path.extension().and_then(|end| end.to_str());
    if let (Some("md" | "toml" | "css" | "js" | "hbs" | "svg"), Ok(time)) =
        (end, metadata.modified())
    {
        seen.insert(path.to_path_buf(), (time, metadata.len()));
    }
}
