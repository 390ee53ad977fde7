//! Why a verb could not be done, and the exit code that says whose fault it is.

use std::path::Path;
use std::{fmt, io};

#[derive(Debug)]
pub struct Trouble {
    pub code: u8,
    text: String,
}

impl Trouble {
    /// What was asked for cannot be done as things are: exit code 1.
    pub fn failed(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code: 1, text }
    }

    /// The call was wrong: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code: 2, text }
    }

    /// The machine, the toolchain or the file system: exit code 3.
    pub fn environment(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code: 3, text }
    }

    /// An error of the environment about this file, folder or program.
    pub fn at(what: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::environment(format!("{}: {error}", what.as_ref().display()))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
