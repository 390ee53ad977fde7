//! HTTP for an author together with a first book.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Services;
use super::model::{CatalogEntry, StoredEntry};
use crate::authors::Author;
use crate::books::Book;
use crate::docs::{BadRequest, Conflict, Failures, Unprocessable};
use crate::error::Error;
use crate::types::Object;

/// Stores an author together with a first book: both, or neither.
#[utoipa::path(
    post,
    path = "/catalog",
    request_body = CatalogEntry,
    responses(
        (
            status = 201,
            description = "The author and the book were stored",
            body = StoredEntry,
            headers(("Location" = String, description = "The book's path"))
        ),
        BadRequest,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn create(
    State(services): State<Services>,
    entry: Result<Json<Object<CatalogEntry>>, JsonRejection>,
) -> Result<Response, Error> {
    let Json(Object(entry)) = entry?;
    let (author, book) = services
        .books
        .create_with_author(&entry.author, &entry.book)
        .await?;
    Ok(created(author, book))
}

/// Stores an author, and then a first book, each in a transaction of its own.
///
/// If the book is refused, the author stays.
#[utoipa::path(
    post,
    path = "/catalog/separately",
    request_body = CatalogEntry,
    responses(
        (
            status = 201,
            description = "The author and the book were stored",
            body = StoredEntry,
            headers(("Location" = String, description = "The book's path"))
        ),
        BadRequest,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn create_separately(
    State(services): State<Services>,
    entry: Result<Json<Object<CatalogEntry>>, JsonRejection>,
) -> Result<Response, Error> {
    let Json(Object(entry)) = entry?;
    let author = services.authors.create(&entry.author).await?;
    let book = services.books.create(&entry.book.by(author.id)).await?;
    Ok(created(author, book))
}

/// Returns 201 with both. The `Location` header is the book's path.
fn created(author: Author, book: Book) -> Response {
    (
        StatusCode::CREATED,
        [(header::LOCATION, format!("/book/{}", book.id))],
        Json(StoredEntry { author, book }),
    )
        .into_response()
}
