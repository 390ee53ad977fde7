//! HTTP for customers.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::entity::Customer;
use super::service::CustomerService;
use crate::body::{Format, respond};
use crate::docs::Failures;
use crate::error::Error;

/// All customers.
#[utoipa::path(
    get,
    path = "/api/customers",
    responses(
        (
            status = 200,
            description = "All customers, ordered by id. With `Accept: application/x-ndjson` \
                           one JSON object per line",
            // TODO(11.6): describe both formats of the list, with an example of the lines
            body = Vec<Customer>
            // END TODO(11.6)
        ),
        Failures
    )
)]
pub async fn list(
    State(customers): State<CustomerService>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    respond(Format::accepted(&headers), customers.list()).await
}
