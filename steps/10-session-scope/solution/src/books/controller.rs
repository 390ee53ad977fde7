//! HTTP for books.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::entity::Book;
use super::model::{BookChange, NewBook};
use super::service::BookService;
use crate::error::Error;
use crate::page::PageQuery;

pub async fn list(
    State(books): State<BookService>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<Book>>, Error> {
    let page = query?.0.page()?;
    Ok(Json(books.list(page).await?))
}

pub async fn get(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Book>, Error> {
    let Path(id) = id?;
    Ok(Json(books.get(id).await?))
}

/// Returns 201 with the book. The `Location` header is the book's path.
pub async fn create(
    State(books): State<BookService>,
    book: Result<Json<NewBook>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(book) = book?;
    let book = books.create(&book).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/book/{}", book.id))],
        Json(book),
    ))
}

/// Returns the book after the change.
pub async fn replace(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
    book: Result<Json<NewBook>, JsonRejection>,
) -> Result<Json<Book>, Error> {
    let (Path(id), Json(book)) = (id?, book?);
    Ok(Json(books.replace(id, &book).await?))
}

/// Returns the book after the change.
pub async fn update(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
    change: Result<Json<BookChange>, JsonRejection>,
) -> Result<Json<Book>, Error> {
    let (Path(id), Json(change)) = (id?, change?);
    Ok(Json(books.update(id, change).await?))
}

/// Returns 204, without a body.
pub async fn delete(
    State(books): State<BookService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<StatusCode, Error> {
    let Path(id) = id?;
    books.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
