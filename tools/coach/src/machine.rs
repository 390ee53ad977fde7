//! What the machine gives: cargo, folders and their size.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs, io};

use crate::cargo::cargo;
use crate::project::Project;

/// Where cargo builds, also if cargo cannot say so.
pub fn target_folder(project: &Project) -> PathBuf {
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        if let Some(folder) = env::var_os(name).filter(|folder| !folder.is_empty()) {
            return project.root.join(folder);
        }
    }
    // The configuration may name another one.
    let output = cargo(project)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .stderr(Stdio::null())
        .output();
    output
        .ok()
        .and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok())
        .and_then(|metadata| Some(PathBuf::from(metadata["target_directory"].as_str()?)))
        .unwrap_or_else(|| project.root.join("target"))
}

/// `1.2 GB`, `34.5 MB`, `12 kB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The nearest folder that exists: the path itself, or one above it.
pub fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(path)
}

/// Whether a folder is there or could be made, and a file written to it.
///
/// # Errors
/// It could not.
pub fn writable(folder: &Path) -> io::Result<()> {
    let folder = existing(folder);
    if !folder.is_dir() {
        let text = format!("{} is not a folder", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
    }
    let probe = folder.join(format!(".coach-{}", std::process::id()));
    fs::File::create_new(&probe)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [
            (0, "0 kB"),
            (1, "1 kB"),
            (999_999, "1000 kB"),
            (1_000_000, "1.0 MB"),
            (1_250_000_000, "1.2 GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_file_in_the_way_is_no_folder_to_write_to() {
        let folder = tempfile::tempdir().unwrap();
        writable(&folder.path().join("not/there/yet")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("file"), "").unwrap();
        let error = writable(&folder.path().join("file/target")).unwrap_err();
        assert!(error.to_string().ends_with("file is not a folder"));
    }
}
