//! What all benches are told.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::interrupt::{self, Registration};

/// How much to measure, and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A look at everything in a few minutes; the figures are rough.
    pub quick: bool,
    /// How often each contender has its turn.
    pub rounds: usize,
    /// Where databases are made (`None`: the system's temporary folder).
    pub dir: Option<PathBuf>,
}

impl Settings {
    /// A new temporary folder.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn folder(&self) -> Result<Folder> {
        let (folder, registration) = interrupt::tracked(|| {
            let folder = match &self.dir {
                Some(dir) => TempDir::new_in(dir),
                None => TempDir::new(),
            };
            let folder = folder.map_err(Error::io("make a temporary folder"))?;
            let path = folder.path().to_owned();
            let remove = move || {
                // Whoever still works in it may have added a file meanwhile.
                for _ in 0..100 {
                    match fs::remove_dir_all(&path) {
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                            thread::sleep(Duration::from_millis(10));
                        }
                        _ => break,
                    }
                }
            };
            Ok((folder, Box::new(remove)))
        })?;
        Ok(Folder {
            folder,
            _registration: registration,
        })
    }
}

/// A folder that is removed when this is dropped, and on Ctrl-C.
pub struct Folder {
    folder: TempDir,
    _registration: Registration,
}

impl Folder {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Cargo's target folder, where this program is built.
///
/// # Errors
///
/// When this program is not found.
pub fn target_folder() -> Result<PathBuf> {
    // This program is target/release/bench, and a test of it in target/debug/deps.
    let program = env::current_exe().map_err(Error::io("find this program"))?;
    let profile = program
        .ancestors()
        .find(|folder| folder.ends_with("release") || folder.ends_with("debug"));
    let target = profile
        .and_then(Path::parent)
        .unwrap_or(Path::new("target"));
    Ok(target.to_owned())
}

/// `bench` in cargo's target folder, which is made when it is missing: for
/// reports, and for what is kept from run to run.
///
/// # Errors
///
/// When it cannot be made.
pub fn output_folder() -> Result<PathBuf> {
    let folder = target_folder()?.join("bench");
    fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
    Ok(folder)
}
