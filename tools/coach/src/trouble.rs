//! Why a verb could not be done, and the exit code that says whose fault it is.

use std::fmt;

#[derive(Debug)]
pub struct Trouble {
    pub code: u8,
    text: String,
}

impl Trouble {
    /// The call was wrong: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        Self {
            code: 2,
            text: text.into(),
        }
    }

    /// The machine, the toolchain or the file system: exit code 3.
    pub fn environment(text: impl Into<String>) -> Self {
        Self {
            code: 3,
            text: text.into(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
