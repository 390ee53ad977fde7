//! HTTP for books.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::entity::Book;
use super::model::{BookChange, NewBook};
use super::service::BookService;
use crate::docs::{BadRequest, Conflict, Failures, Id, NotFound, Unprocessable};
use crate::error::Error;
use crate::page::PageQuery;
use crate::types::Object;

/// A page of books.
///
/// The next page starts after the last id of this one. An empty page is the end.
#[utoipa::path(
    get,
    path = "/book",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of books, ordered by id", body = Vec<Book>),
        BadRequest,
        Failures
    )
)]
pub async fn list(
    State(books): State<BookService>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<Book>>, Error> {
    let page = query?.0.page()?;
    Ok(Json(books.list(page).await?))
}

/// One book.
#[utoipa::path(
    get,
    path = "/book/{id}",
    params(("id" = inline(Id), Path, description = "The book's id", example = 1)),
    responses(
        (status = 200, description = "The book", body = Book),
        BadRequest,
        NotFound,
        Failures
    )
)]
pub async fn get(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Book>, Error> {
    let Path(id) = id?;
    Ok(Json(books.get(id).await?))
}

/// Stores a new book.
#[utoipa::path(
    post,
    path = "/book",
    request_body = NewBook,
    responses(
        (
            status = 201,
            description = "The book was stored",
            body = Book,
            headers(("Location" = String, description = "The book's path"))
        ),
        BadRequest,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn create(
    State(books): State<BookService>,
    book: Result<Json<Object<NewBook>>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(Object(book)) = book?;
    let book = books.create(&book).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/book/{}", book.id))],
        Json(book),
    ))
}

/// Gives a book new values, all of them.
///
/// A field that may be `null` and is missing becomes `null`.
#[utoipa::path(
    put,
    path = "/book/{id}",
    params(("id" = inline(Id), Path, description = "The book's id", example = 1)),
    request_body = NewBook,
    responses(
        (status = 200, description = "The book after the change", body = Book),
        BadRequest,
        NotFound,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn replace(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
    book: Result<Json<Object<NewBook>>, JsonRejection>,
) -> Result<Json<Book>, Error> {
    let (Path(id), Json(Object(book))) = (id?, book?);
    Ok(Json(books.replace(id, &book).await?))
}

/// Changes some values of a book.
///
/// A field that is missing keeps its value; `null` clears a field that may be `null`.
#[utoipa::path(
    patch,
    path = "/book/{id}",
    params(("id" = inline(Id), Path, description = "The book's id", example = 1)),
    request_body = BookChange,
    responses(
        (status = 200, description = "The book after the change", body = Book),
        BadRequest,
        NotFound,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn update(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
    change: Result<Json<Object<BookChange>>, JsonRejection>,
) -> Result<Json<Book>, Error> {
    let (Path(id), Json(Object(change))) = (id?, change?);
    Ok(Json(books.update(id, change).await?))
}

/// Removes a book.
#[utoipa::path(
    delete,
    path = "/book/{id}",
    params(("id" = inline(Id), Path, description = "The book's id", example = 3)),
    responses(
        (status = 204, description = "The book was removed"),
        BadRequest,
        NotFound,
        Failures
    )
)]
pub async fn delete(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<StatusCode, Error> {
    let Path(id) = id?;
    books.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
