//! The description of the API: an OpenAPI document, made from the handlers and the
//! types, and a page that shows it.

use axum::Router;
use serde::Serialize;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::{IntoResponses, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

/// What the document says of the service as a whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "marketsvc",
    description = "Customers, orders and books of a small market."
))]
// TODO(11.4): add the schema of a problem
// END TODO(11.4)
pub struct Document;

/// Gives the endpoints of a module their tag, and each an id that is unique in the
/// document: `books_list`. Without the prefix, two handlers called `list` would have the
/// same id, and the page would call one of them for both.
pub fn module(name: &str, mut router: OpenApiRouter) -> OpenApiRouter {
    for operation in operations(router.get_openapi_mut()) {
        operation.tags = Some(vec![name.to_owned()]);
        // TODO(11.3): give the operation an id that no other operation of the document has
        // END TODO(11.3)
    }
    router
}

/// Returns the operations of all paths.
fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document
        .paths
        .paths
        .values_mut()
        .flat_map(|path: &mut PathItem| {
            [
                &mut path.get,
                &mut path.post,
                &mut path.put,
                &mut path.patch,
                &mut path.delete,
            ]
        })
        .flatten()
}

/// Returns a router with the endpoints of `router`, with the document at
/// `/api-docs/openapi.json`, and with the page at `/docs`. The page and its scripts are
/// part of the program, so it needs no network.
pub fn with_pages(router: OpenApiRouter) -> Router {
    // TODO(11.1): serve the document and the page, and let the page ask no other host
    router.split_for_parts().0
    // END TODO(11.1)
}

/// An id, from 1.
// SQLite counts from 1.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64, example = 1)]
pub struct Id(pub i64);

/// A time that a client sends, as documents show it: a day that exists, and a time of
/// that day.
#[derive(ToSchema)]
#[schema(
    example = "2024-03-18 10:30:00",
    pattern = "^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)( ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])?$"
)]
pub struct Time(pub String);

/// The body of an error (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem this is.
    pub r#type: String,
    /// The words for the status.
    pub title: String,
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The fields that are wrong; only with status 409 and 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldProblem>>,
}

/// What is wrong with one field of a request.
#[derive(Serialize, ToSchema)]
pub struct FieldProblem {
    /// The path of the field in the body: `items[1].id`.
    pub field: String,
    pub detail: String,
}

// TODO(11.4): describe the problems: their body, its type and its headers
/// The service cannot read the request.
#[derive(IntoResponses)]
#[response(status = 400)]
pub struct BadRequest;

/// The path names something that does not exist.
#[derive(IntoResponses)]
#[response(status = 404)]
pub struct NotFound;

/// The request contradicts what is stored: a name is taken, or something still refers
/// to the row. Nothing has changed.
#[derive(IntoResponses)]
#[response(status = 409)]
pub struct Conflict;

/// A value is not acceptable; `errors` names its field. Nothing has changed.
#[derive(IntoResponses)]
#[response(status = 422)]
pub struct Unprocessable;

/// What every endpoint that uses the database may answer.
#[derive(IntoResponses)]
pub enum Failures {
    /// The service failed. The cause is in its log.
    #[response(status = 500)]
    Failed,
    /// The service is busy. The header `Retry-After` says in how many seconds to try
    /// again.
    #[response(status = 503)]
    Busy,
}
// END TODO(11.4)
