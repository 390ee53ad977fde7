//! The description of the API: an OpenAPI document, made from the handlers and the
//! types, and a page that shows it.

use axum::Router;
use serde::Serialize;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::{IntoResponses, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// What the document says of the service as a whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "marketsvc",
    description = "Customers, orders and books of a small market."
))]
#[openapi(components(schemas(Problem)))]
pub struct Document;

/// Gives the endpoints of a module their tag, and each an id that is unique in the
/// document: `books_list`. Without the prefix, two handlers called `list` would have the
/// same id, and the page would call one of them for both.
pub fn module(name: &str, mut router: OpenApiRouter) -> OpenApiRouter {
    for operation in operations(router.get_openapi_mut()) {
        operation.tags = Some(vec![name.to_owned()]);
        let handler = operation.operation_id.take().unwrap_or_default();
        operation.operation_id = Some(format!("{name}_{handler}"));
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
    let (router, document) = router.split_for_parts();
    // By default the page sends the document to swagger.io, to have it validated.
    let config = Config::default().validator_url("none");
    let page = SwaggerUi::new("/docs")
        .url("/api-docs/openapi.json", document)
        .config(config);
    router.merge(page)
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

/// The service cannot read the request.
#[derive(IntoResponses)]
#[response(
    status = 400,
    content_type = "application/problem+json",
    example = json!({
        "type": "about:blank", "title": "Bad Request", "status": 400,
        "detail": "the limit must be from 1 to 100"
    })
)]
pub struct BadRequest(pub Problem);

/// The path names something that does not exist.
#[derive(IntoResponses)]
#[response(
    status = 404,
    content_type = "application/problem+json",
    example = json!({
        "type": "about:blank", "title": "Not Found", "status": 404,
        "detail": "there is no such book"
    })
)]
pub struct NotFound(pub Problem);

/// The request contradicts what is stored: a name is taken, or something still refers
/// to the row. Nothing has changed.
#[derive(IntoResponses)]
#[response(
    status = 409,
    content_type = "application/problem+json",
    example = json!({
        "type": "about:blank", "title": "Conflict", "status": 409,
        "detail": "another book has this name",
        "errors": [{ "field": "book_name", "detail": "another book has this name" }]
    })
)]
pub struct Conflict(pub Problem);

/// A value is not acceptable; `errors` names its field. Nothing has changed.
#[derive(IntoResponses)]
#[response(
    status = 422,
    content_type = "application/problem+json",
    example = json!({
        "type": "about:blank", "title": "Unprocessable Entity", "status": 422,
        "detail": "there is no such author",
        "errors": [{ "field": "author_id", "detail": "there is no such author" }]
    })
)]
pub struct Unprocessable(pub Problem);

/// What every endpoint may answer.
#[derive(IntoResponses)]
pub enum Failures {
    /// The body of the request did not arrive in time.
    #[response(
        status = 408,
        content_type = "application/problem+json",
        example = json!({
            "type": "about:blank", "title": "Request Timeout", "status": 408,
            "detail": "the body did not arrive in time"
        })
    )]
    Slow(Problem),
    /// The body of the request is longer than the service reads.
    #[response(
        status = 413,
        content_type = "application/problem+json",
        example = json!({
            "type": "about:blank", "title": "Payload Too Large", "status": 413,
            "detail": "the body is longer than this service reads"
        })
    )]
    Large(Problem),
    /// The service failed. The cause is in its log.
    #[response(
        status = 500,
        content_type = "application/problem+json",
        example = json!({
            "type": "about:blank", "title": "Internal Server Error", "status": 500,
            "detail": "the service could not answer; the cause is in its log"
        })
    )]
    Failed(Problem),
    /// The service is busy. The header `Retry-After` says in how many seconds to try
    /// again.
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = i32, description = "Seconds")),
        example = json!({
            "type": "about:blank", "title": "Service Unavailable", "status": 503,
            "detail": "the service is busy; try again in a second"
        })
    )]
    Busy(Problem),
}
