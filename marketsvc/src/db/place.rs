//! Whether the database's file is still where it was.
//!
//! A program goes on with a file that it has open when somebody removes it or
//! puts another one in its place, and so does SQLite: it would store orders, and
//! acknowledge them, that are gone with the process. So the writer looks before
//! it begins, and again before it says that orders are stored.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Where the database is, and which file it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    file: Identity,
    /// The log beside it. While nobody writes, SQLite may remove it and make
    /// another.
    log: PathBuf,
}

impl Place {
    /// # Errors
    ///
    /// When there is no file at `path`.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // SQLite follows links, and keeps the log beside the real file.
        let mut log = fs::canonicalize(path)?.into_os_string();
        log.push("-wal");
        Ok(Self {
            path: path.to_owned(),
            file: identity(&fs::metadata(path)?),
            log: log.into(),
        })
    }

    /// Takes a few microseconds.
    ///
    /// # Errors
    ///
    /// When the file has been removed or replaced.
    pub(super) fn check(&self) -> Result<(), sqlx::Error> {
        let file = fs::metadata(&self.path).map(|metadata| identity(&metadata));
        if file.is_ok_and(|file| file == self.file) {
            return Ok(());
        }
        Err(lost(&self.path))
    }

    /// After a commit, by a connection that is still open.
    ///
    /// # Errors
    ///
    /// When what was committed is not where the next start will look for it.
    pub(super) fn check_committed(&self) -> Result<(), sqlx::Error> {
        self.check()?;
        if self.log.exists() {
            return Ok(());
        }
        Err(lost(&self.log))
    }
}

fn lost(path: &Path) -> sqlx::Error {
    sqlx::Error::Io(io::Error::other(format!(
        "{} has been removed or replaced while the service runs; put it back, or restart",
        path.display()
    )))
}

/// What tells a file from every other one.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Elsewhere there is nothing of the kind that is stable; that the file is
/// there has to do.
#[cfg(not(unix))]
type Identity = bool;

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> Identity {
    metadata.is_file()
}
