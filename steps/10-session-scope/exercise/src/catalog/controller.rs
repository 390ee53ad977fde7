//! HTTP for an author together with a first book.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Services;
use super::model::CatalogEntry;
use crate::authors::Author;
use crate::books::Book;
use crate::error::Error;
use crate::session::Session;

/// Stores the author and the book in the session of the request: both, or neither.
pub async fn create(
    State(services): State<Services>,
    session: Session,
    entry: Result<Json<CatalogEntry>, JsonRejection>,
) -> Result<Response, Error> {
    // TODO(10.3): store the author and the book in the session of the request
    let _ = (services.authors, services.books, created); // remove these three lines
    let _ = (session, entry);
    todo!("store the author and the book in the session of the request")
    // END TODO(10.3)
}

/// Stores the author and then the book, each in a transaction of its own. If the book
/// is refused, the author stays.
pub async fn create_separately(
    State(services): State<Services>,
    entry: Result<Json<CatalogEntry>, JsonRejection>,
) -> Result<Response, Error> {
    // TODO(10.4): store the author and the book by two calls with transactions of their own
    let _ = (services.authors, services.books, created, entry); // remove these two lines
    todo!("store the author and the book by two calls with transactions of their own")
    // END TODO(10.4)
}

/// Returns 201 with both. The `Location` header is the book's path.
fn created(author: &Author, book: &Book) -> Response {
    (
        StatusCode::CREATED,
        [(header::LOCATION, format!("/book/{}", book.id))],
        Json(json!({ "author": author, "book": book })),
    )
        .into_response()
}
