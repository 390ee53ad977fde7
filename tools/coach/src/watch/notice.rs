//! Notices that something in the crate's folder may have changed.
//!
//! The system tells of saves, where it can. Besides, the files are looked at
//! now and then: often where the system tells nothing, and rarely otherwise,
//! for the saves that it does not tell of.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::files::{self, Look};
use super::machine::Event;

/// How often the files are looked at where nothing else tells of saves.
const OFTEN: Duration = Duration::from_millis(300);
/// And where the system does.
const RARELY: Duration = Duration::from_secs(2);

/// Sends [`Event::Touched`] until dropped.
pub struct Notice {
    /// Why the system is not asked to tell of saves.
    pub polls_because: Option<String>,
    _stop: Sender<()>,
}

impl Notice {
    /// Begins. Whatever changes after this is noticed.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn start(folder: &Path, poll: bool, events: &Sender<Event>) -> io::Result<Self> {
        // Events bear the path without links.
        let folder = folder.canonicalize()?;
        let mut polls_because = poll.then(|| "--poll".to_owned()).or_else(|| {
            // Only Linux has the file.
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            files::without_events(&mounts, &folder)
                .map(|kind| format!("the file system, {kind}, may not tell of saves"))
        });
        let mut watcher = None;
        if polls_because.is_none() {
            match ask(&folder, events) {
                Ok(started) => watcher = Some(started),
                Err(error) => {
                    polls_because = Some(format!("the system tells nothing of saves: {error}"));
                }
            }
        }
        let (stop, stopped) = mpsc::channel();
        let look = Look::take(&folder);
        let events = events.clone();
        thread::spawn(move || keep_looking(&folder, watcher, look, &events, &stopped));
        Ok(Self {
            polls_because,
            _stop: stop,
        })
    }
}

/// Looks again and again until `stopped` is closed.
fn keep_looking(
    folder: &Path,
    mut watcher: Option<RecommendedWatcher>,
    mut last: Look,
    events: &Sender<Event>,
    stopped: &mpsc::Receiver<()>,
) {
    let mut interval = if watcher.is_some() { RARELY } else { OFTEN };
    let mut identity = identity_of(folder);
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        // A folder that was put in the place of the one that is watched, as
        // when a backup is brought back.
        let now = identity_of(folder);
        if watcher.is_some() && now.is_some() && now != identity {
            watcher = ask(folder, events).ok();
            interval = if watcher.is_some() { RARELY } else { OFTEN };
        }
        identity = now;
        let look = Look::take(folder);
        if look.differs(&last) {
            let _ = events.send(Event::Touched);
        }
        last = look;
    }
}

/// Has the system tell of what happens below `folder`.
fn ask(folder: &Path, events: &Sender<Event>) -> notify::Result<RecommendedWatcher> {
    let (events, root) = (events.clone(), folder.to_owned());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = match event {
            // Something was missed: better look.
            Err(_) => true,
            Ok(event) if event.need_rescan() => true,
            // Cargo and the scan read the files too.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) => event
                .paths
                .iter()
                .any(|path| path.strip_prefix(&root).is_ok_and(files::is_relevant)),
        };
        if matters {
            let _ = events.send(Event::Touched);
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// What tells a folder from another one of the same name.
fn identity_of(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
