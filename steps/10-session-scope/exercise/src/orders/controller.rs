//! HTTP for orders.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::model::{NewOrder, OrdersBody, OrdersQuery};
use super::service::OrderService;
use crate::body::{Format, respond};
use crate::error::Error;
use crate::types::Money;

/// axum fills each parameter from the request; such a parameter is called an
/// *extractor*. With `Result<Path<_>, _>` the handler itself decides how it answers
/// a path that is not valid.
pub async fn list_of_customer(
    State(orders): State<OrderService>,
    customer_id: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path(customer_id) = customer_id?;
    respond(
        Format::accepted(&headers),
        orders.list_of_customer(customer_id),
    )
    .await
}

/// Returns `{"Order Total": 30.0}`. The total is `null` for an order that has
/// no items.
pub async fn total(
    State(orders): State<OrderService>,
    order_id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Error> {
    let Path(order_id) = order_id?;
    let total = orders.total(order_id).await?;
    Ok(Json(json!({ "Order Total": total })))
}

/// Returns `[30.0, 12.0, null]`: a total for each id, in the order of the ids.
pub async fn totals(
    State(orders): State<OrderService>,
    query: Result<Query<OrdersQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Vec<Option<Money>>>, Error> {
    let order_ids = order_ids(query?.0, &body?)?;
    let totals = orders.totals(order_ids).await?;
    Ok(Json(totals))
}

/// Returns the ids in `?orders=` or, without it, those in the body. Both exist
/// because many clients and proxies drop the body of a GET request.
///
/// # Errors
/// [`Error::BadRequest`] if the ids cannot be read or are more than
/// [`MAX_ORDERS`].
fn order_ids(query: OrdersQuery, body: &[u8]) -> Result<Vec<i64>, Error> {
    let ids: Vec<i64> = match query.orders {
        Some(text) => text
            .split(',')
            .map(|id| id.trim().parse().map_err(|_| MALFORMED_ORDERS))
            .collect::<Result<_, _>>()?,
        None => {
            serde_json::from_slice::<OrdersBody>(body)
                .map_err(|_| MALFORMED_ORDERS)?
                .orders
        }
    };
    if ids.len() > MAX_ORDERS {
        return Err(Error::BadRequest("at most 1000 orders per request"));
    }
    Ok(ids)
}

const MAX_ORDERS: usize = 1_000;

const MALFORMED_ORDERS: Error = Error::BadRequest(
    "give the order ids once, as ?orders=1,2,3 or as the JSON body {\"orders\":[1,2,3]} in UTF-8 \
     without a byte order mark; an id is a whole number without a point or exponent",
);

/// In the path, the later of the two times comes first.
pub async fn list_between(
    State(orders): State<OrderService>,
    dates: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((before, after)) = dates?;
    let (before, after) = (before.parse()?, after.parse()?);
    respond(
        Format::accepted(&headers),
        orders.list_between(&after, &before),
    )
    .await
}

/// Returns 201 with the new order's id. The `Location` header is the path of
/// the order's total.
pub async fn place(
    State(orders): State<OrderService>,
    order: Result<Json<NewOrder>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(order) = order?;
    let order_id = orders.place(order.customer_id, &order.items).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/api/order_total/{order_id}"))],
        Json(json!({ "order_id": order_id })),
    ))
}
