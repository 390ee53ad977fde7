//! What clients send about authors.

use serde::Deserialize;

use crate::error::Error;
use crate::types::check_text;

/// The JSON body of `POST /author`.
#[derive(Debug, Deserialize)]
pub struct NewAuthor {
    /// From 1 to 200 characters, not only blanks. No two authors have the same name.
    pub name: String,
}

impl NewAuthor {
    /// Checks everything that can be checked without the database.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable; it names the field.
    pub fn validate(&self) -> Result<(), Error> {
        check_text("name", &self.name, 200)
    }
}
