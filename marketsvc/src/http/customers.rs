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
        let mut first = true;
        // Nothing keeps ids below 1 out of the table.
        let mut from = i64::MIN;
        let limit = state.limits.page_rows;
        loop {
            let page = customers::page(&state.db, from, limit, format.separator()).await?;
            let Some(page) = page else {
                yield format.end(first);
                break;
            };
            let next = page.last.checked_add(1).filter(|_| page.full);
            yield format.page(first, next.is_none(), page.rows);
            let Some(next) = next else { break };
            (first, from) = (false, next);
        }
    }
}
