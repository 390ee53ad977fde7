//! HTTP for customers.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::service::CustomerService;
use crate::body::{Format, respond};
use crate::error::Error;

pub async fn list(
    State(customers): State<CustomerService>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    respond(Format::accepted(&headers), customers.list()).await
}
