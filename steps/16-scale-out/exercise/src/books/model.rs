//! What clients send about books.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::entity::Book;
use crate::docs::Id;
use crate::error::Error;
use crate::types::{Money, check_text};

/// The JSON body of `POST /book` and of `PUT /book/{id}`: all values of a book. A
/// field that may be `null` may also be missing.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "book_name": "Emma", "author_id": 1, "price": 7.5, "description": null,
    "year_of_publication": 1815, "genre": "novel", "language": "English", "pages": 474
}))]
pub struct NewBook {
    /// From 1 to 200 characters, not only blanks. No two books have the same name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub book_name: String,
    /// The id of the author, who must exist.
    #[schema(value_type = Id)]
    pub author_id: i64,
    /// A number of at most two decimals, from 0 to 1,000,000.
    #[schema(minimum = 0, maximum = 1_000_000, multiple_of = 0.01)]
    pub price: f64,
    /// From 1 to 10,000 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 10_000,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub description: Option<String>,
    /// From -3000 to 3000.
    #[schema(minimum = -3000, maximum = 3000)]
    pub year_of_publication: Option<i64>,
    /// From 1 to 100 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub genre: Option<String>,
    /// From 1 to 100 characters, not only blanks.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub language: Option<String>,
    /// From 1 to 100,000.
    #[schema(minimum = 1, maximum = 100_000)]
    pub pages: Option<i64>,
}

impl NewBook {
    /// Checks everything that can be checked without the database, and returns the
    /// price in cents.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if a value is not acceptable; it names the field.
    pub fn validate(&self) -> Result<Money, Error> {
        check_text("book_name", &self.book_name, 200)?;
        let price = Money::from_number(self.price).ok_or_else(|| {
            Error::unprocessable(
                "price",
                "the price must be from 0 to 1000000, with at most two decimals",
            )
        })?;
        for (field, text, longest) in [
            ("description", &self.description, 10_000),
            ("genre", &self.genre, 100),
            ("language", &self.language, 100),
        ] {
            if let Some(text) = text {
                check_text(field, text, longest)?;
            }
        }
        if self
            .year_of_publication
            .is_some_and(|year| !(-3000..=3000).contains(&year))
        {
            return Err(Error::unprocessable(
                "year_of_publication",
                "the year must be from -3000 to 3000",
            ));
        }
        if self
            .pages
            .is_some_and(|pages| !(1..=100_000).contains(&pages))
        {
            return Err(Error::unprocessable(
                "pages",
                "the number of pages must be from 1 to 100000",
            ));
        }
        Ok(price)
    }
}

/// The JSON body of `PATCH /book/{id}`: the values that change. A field that is
/// missing keeps its value; `null` clears a field that may be `null`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "price": 6.95, "description": null }))]
pub struct BookChange {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub book_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, value_type = Option<Id>)]
    pub author_id: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, minimum = 0, maximum = 1_000_000, multiple_of = 0.01)]
    pub price: Option<f64>,
    // `None` is a missing field, `Some(None)` is `null`, `Some(Some(value))` is a value.
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 10_000,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(minimum = -3000, maximum = 3000)]
    pub year_of_publication: Option<Option<i64>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub genre: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
    )]
    pub language: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub pages: Option<Option<i64>>,
}

impl BookChange {
    /// Returns all values of `book` after this change.
    pub fn apply(&self, book: Book) -> NewBook {
        let change = self.clone();
        NewBook {
            book_name: change.book_name.unwrap_or(book.book_name),
            author_id: change.author_id.unwrap_or(book.author_id),
            price: change.price.unwrap_or(book.price.to_number()),
            description: change.description.unwrap_or(book.description),
            year_of_publication: change
                .year_of_publication
                .unwrap_or(book.year_of_publication),
            genre: change.genre.unwrap_or(book.genre),
            language: change.language.unwrap_or(book.language),
            pages: change.pages.unwrap_or(book.pages),
        }
    }
}

/// Reads a field that is there. serde calls this only then; for a missing field
/// `#[serde(default)]` takes `None`. Without this function serde would read `null` as
/// a missing value, too.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
