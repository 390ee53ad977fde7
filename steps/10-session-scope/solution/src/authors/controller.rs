//! HTTP for authors.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::entity::Author;
use super::model::NewAuthor;
use super::service::AuthorService;
use crate::error::Error;
use crate::page::PageQuery;

pub async fn list(
    State(authors): State<AuthorService>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<Author>>, Error> {
    let page = query?.0.page()?;
    Ok(Json(authors.list(page).await?))
}

pub async fn get(
    State(authors): State<AuthorService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Author>, Error> {
    let Path(id) = id?;
    Ok(Json(authors.get(id).await?))
}

/// Returns 201 with the author. The `Location` header is the author's path.
pub async fn create(
    State(authors): State<AuthorService>,
    author: Result<Json<NewAuthor>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(author) = author?;
    let author = authors.create(&author).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/author/{}", author.id))],
        Json(author),
    ))
}

/// Returns 204, without a body.
pub async fn delete(
    State(authors): State<AuthorService>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<StatusCode, Error> {
    let Path(id) = id?;
    authors.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
