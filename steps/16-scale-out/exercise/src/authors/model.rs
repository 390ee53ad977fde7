//! What clients send about authors.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::types::check_text;

/// The JSON body of `POST /author`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "name": "Emily Brontë" }))]
pub struct NewAuthor {
    /// From 1 to 200 characters, not only blanks. No two authors have the same name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
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
