//! HTTP for authors.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::entity::Author;
use super::model::NewAuthor;
use super::service::AuthorService;
use crate::docs::{BadRequest, Conflict, Failures, Id, NotFound, Unprocessable};
use crate::error::Error;
use crate::page::PageQuery;
use crate::types::Object;

/// A page of authors.
///
/// The next page starts after the last id of this one. An empty page is the end.
#[utoipa::path(
    get,
    path = "/author",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of authors, ordered by id", body = Vec<Author>),
        BadRequest,
        Failures
    )
)]
pub async fn list(
    State(authors): State<AuthorService>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<Author>>, Error> {
    let page = query?.0.page()?;
    Ok(Json(authors.list(page).await?))
}

/// One author.
#[utoipa::path(
    get,
    path = "/author/{id}",
    params(("id" = inline(Id), Path, description = "The author's id", example = 1)),
    responses(
        (status = 200, description = "The author", body = Author),
        BadRequest,
        NotFound,
        Failures
    )
)]
pub async fn get(
    State(authors): State<AuthorService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Author>, Error> {
    let Path(id) = id?;
    Ok(Json(authors.get(id).await?))
}

/// Stores a new author.
#[utoipa::path(
    post,
    path = "/author",
    request_body = NewAuthor,
    responses(
        (
            status = 201,
            description = "The author was stored",
            body = Author,
            headers(("Location" = String, description = "The author's path"))
        ),
        BadRequest,
        Conflict,
        Unprocessable,
        Failures
    )
)]
pub async fn create(
    State(authors): State<AuthorService>,
    author: Result<Json<Object<NewAuthor>>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(Object(author)) = author?;
    let author = authors.create(&author).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/author/{}", author.id))],
        Json(author),
    ))
}

/// Removes an author who has no books.
#[utoipa::path(
    delete,
    path = "/author/{id}",
    params(("id" = inline(Id), Path, description = "The author's id", example = 4)),
    responses(
        (status = 204, description = "The author was removed"),
        BadRequest,
        NotFound,
        Conflict,
        Failures
    )
)]
pub async fn delete(
    State(authors): State<AuthorService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<StatusCode, Error> {
    let Path(id) = id?;
    authors.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
