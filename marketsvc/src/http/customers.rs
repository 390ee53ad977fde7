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
    [("/api/customers", |guard| get(guard.around(list)))]
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
        let mut after = None;
        let limit = state.limits.page_rows;
        loop {
            let first = after.is_none();
            let from = after.unwrap_or(0);
            let page = customers::page(&state.db, from, limit, format.separator()).await?;
            let Some(page) = page else {
                yield format.end(first);
                break;
            };
            yield format.page(first, !page.full, page.rows);
            if !page.full {
                break;
            }
            after = Some(page.last);
        }
    }
}
