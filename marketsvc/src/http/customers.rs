//! `/api/customers`.

use async_stream::try_stream;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures::Stream;

use super::stream::{Format, respond};
use super::{AppState, PathAndHandlers};
use crate::Error;
use crate::db::customers;

pub(super) fn routes() -> [PathAndHandlers; 1] {
    [("/api/customers", get(list))]
}

/// `GET /api/customers`: every customer by id, streamed.
///
/// `[{"id":1,"name":"Alex","address":{"flat_number":101,"post_code":10001}},…]`,
/// or one such object for each line with `Accept: application/x-ndjson`.
async fn list(State(state): State<AppState>, format: Format) -> Result<Response, Error> {
    respond(format, pages(state, format)).await
}

fn pages(state: AppState, format: Format) -> impl Stream<Item = Result<Bytes, Error>> {
    try_stream! {
        let mut first = true;
        let mut last = 0;
        let limit = state.limits.page_rows;
        while let Some(page) = customers::page(&state.db, last, limit, format.separator()).await? {
            yield format.page(first, page.rows);
            first = false;
            last = page.last;
            if !page.full {
                break;
            }
        }
        yield format.end(first);
    }
}
