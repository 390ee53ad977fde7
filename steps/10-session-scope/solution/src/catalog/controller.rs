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
    let Json(entry) = entry?;
    let mut transaction = session.write().await?;
    let author = services
        .authors
        .create_in(&mut transaction, &entry.author)
        .await?;
    let book = entry.book.by(author.id);
    let book = services.books.create_in(&mut transaction, &book).await?;
    Ok(created(&author, &book))
    // END TODO(10.3)
}

/// Stores the author and then the book, each in a transaction of its own. If the book
/// is refused, the author stays.
pub async fn create_separately(
    State(services): State<Services>,
    entry: Result<Json<CatalogEntry>, JsonRejection>,
) -> Result<Response, Error> {
    // TODO(10.4): store the author and the book by two calls with transactions of their own
    let Json(entry) = entry?;
    let author = services.authors.create(&entry.author).await?;
    let book = services.books.create(&entry.book.by(author.id)).await?;
    Ok(created(&author, &book))
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
