//! HTTP for customers.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::entity::Customer;
use super::service::CustomerService;
use crate::admission::StreamPermit;
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
            content(
                (Vec<Customer> = "application/json"),
                (
                    String = "application/x-ndjson",
                    example = json!("{\"id\":1,\"name\":\"Alex\",\"address\":{\"flat_number\":101,\"post_code\":10001}}\n")
                )
            )
        ),
        Failures
    )
)]
pub async fn list(
    State(customers): State<CustomerService>,
    headers: HeaderMap,
    permit: StreamPermit,
) -> Result<Response, Error> {
    let format = Format::accepted(&headers);
    respond(format, customers.list(format.separator()), permit).await
}
