//! Translates a violated constraint, or a row that is missing, into the answer for the client.

use crate::error::Error;

pub const NO_SUCH_AUTHOR: Error = Error::NotFound("there is no such author");
pub const NO_SUCH_BOOK: Error = Error::NotFound("there is no such book");
pub const NO_SUCH_CUSTOMER: Error = Error::NotFound("there is no such customer");
pub const NO_SUCH_ORDER: Error = Error::NotFound("there is no such order");

/// Says what a violated constraint means for an author.
pub fn author(error: sqlx::Error) -> Error {
    let taken = Error::conflict("name", "another author has this name");
    let used = Error::conflict("id", "there are books by this author");
    violated(error, taken, used)
}

/// Says what a violated constraint means for a book.
pub fn book(error: sqlx::Error) -> Error {
    let taken = Error::conflict("book_name", "another book has this name");
    let unknown = Error::unprocessable("author_id", "there is no such author");
    violated(error, taken, unknown)
}

/// Returns `unique` or `foreign_key` if the error is that such a constraint is violated.
fn violated(error: sqlx::Error, unique: Error, foreign_key: Error) -> Error {
    match error.as_database_error() {
        Some(violated) if violated.is_unique_violation() => unique,
        Some(violated) if violated.is_foreign_key_violation() => foreign_key,
        _ => error.into(),
    }
}

/// The order names a customer that does not exist.
pub fn unknown_customer() -> Error {
    Error::unprocessable("customer_id", "there is no such customer")
}

/// The item at `index` of the order does not exist.
pub fn unknown_item(index: i64) -> Error {
    Error::unprocessable(format!("items[{index}].id"), "there is no such item")
}

/// The order's key is that of another order.
pub fn key_taken() -> Error {
    Error::unprocessable(
        "Idempotency-Key",
        "an order with other content has this key",
    )
}
