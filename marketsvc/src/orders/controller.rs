//! HTTP for orders.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::entity::{Order, OrderedItemOfCustomer};
use super::headers::{IdempotencyKey, MARKET_POSITION, Seen};
use super::model::{NewOrder, OrderTotal, OrdersBody, OrdersQuery, Placed, StoredOrder};
use super::service::OrderService;
use crate::admission::StreamPermit;
use crate::body::{Format, respond};
use crate::docs::{BadRequest, Failures, Id, NotFound, Time, Unprocessable};
use crate::error::Error;
use crate::types::{Money, Object};

/// The orders of a customer.
#[utoipa::path(
    get,
    path = "/api/orders/{cust_id}",
    params(
        ("cust_id" = inline(Id), Path, description = "The customer's id", example = 1),
        Seen
    ),
    responses(
        (
            status = 200,
            description = "The customer's orders, by id. With `Accept: application/x-ndjson` one JSON object per line",
            content(
                (Vec<Order> = "application/json"),
                (String = "application/x-ndjson", example = line_of_order)
            )
        ),
        BadRequest,
        NotFound,
        Failures
    )
)]
pub async fn list_of_customer(
    State(orders): State<OrderService>,
    customer_id: Result<Path<i64>, PathRejection>,
    Seen(seen): Seen,
    headers: HeaderMap,
    permit: StreamPermit,
) -> Result<Response, Error> {
    let Path(customer_id) = customer_id?;
    let format = Format::accepted(&headers);
    let pages = orders.list_of_customer(customer_id, format.separator(), seen);
    respond(format, pages, permit).await
}

/// What an order costs.
///
/// The total is `null` for an order that has no items.
#[utoipa::path(
    get,
    path = "/api/order_total/{order_id}",
    params(
        ("order_id" = inline(Id), Path, description = "The order's id", example = 1),
        Seen
    ),
    responses(
        (status = 200, description = "The total", body = OrderTotal),
        BadRequest,
        NotFound,
        Failures
    )
)]
pub async fn total(
    State(orders): State<OrderService>,
    order_id: Result<Path<i64>, PathRejection>,
    Seen(seen): Seen,
) -> Result<Json<OrderTotal>, Error> {
    let Path(order_id) = order_id?;
    let total = orders.total(order_id, seen).await?;
    Ok(Json(OrderTotal { total }))
}

/// What many orders cost.
///
/// The ids may also be sent as the JSON body `{"orders":[1,2,3]}`. Use the query string:
/// many clients and proxies drop the body of a GET request.
#[utoipa::path(
    get,
    path = "/api/orders_total",
    params(OrdersQuery, Seen),
    responses(
        (
            status = 200,
            description = "A total for each id, in the order of the ids; `null` for an order \
                           that has no items or does not exist",
            body = Vec<Option<Money>>,
            example = json!([30.0, 12.0, null])
        ),
        BadRequest,
        Failures
    )
)]
pub async fn totals(
    State(orders): State<OrderService>,
    query: Result<Query<OrdersQuery>, QueryRejection>,
    Seen(seen): Seen,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Vec<Option<Money>>>, Error> {
    let order_ids = order_ids(query?.0, &body?)?;
    let totals = orders.totals(order_ids, seen).await?;
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
            serde_json::from_slice::<Object<OrdersBody>>(body)
                .map_err(|_| MALFORMED_ORDERS)?
                .0
                .orders
        }
    };
    if ids.len() > MAX_ORDERS {
        return Err(Error::BadRequest("at most 1000 orders per request"));
    }
    Ok(ids)
}

/// Examples of a line of NDJSON. They are text, since several lines are not one JSON
/// value.
fn line_of_order() -> Value {
    let line = json!({
        "order_id": 3, "customer": { "name": "Blake" }, "order_time": "2024-03-25 15:00:00",
        "items": []
    });
    format!("{line}\n").into()
}

fn line_of_item() -> Value {
    let line = json!({ "customer": "Alex", "name": "Kit Kat", "price": 1.0, "total": 4.0 });
    format!("{line}\n").into()
}

const MAX_ORDERS: usize = 1_000;

const MALFORMED_ORDERS: Error = Error::BadRequest(
    "give the order ids once, as ?orders=1,2,3 or as the JSON body {\"orders\":[1,2,3]} in UTF-8 \
     without a byte order mark; an id is a whole number without a point or exponent",
);

/// What was ordered between two times.
///
/// A time is `YYYY-MM-DD HH:MM:SS` in UTC, or `YYYY-MM-DD` for the first second of that
/// day. In the path, the later of the two comes first.
#[utoipa::path(
    get,
    path = "/api/orders_between_dates/{before}/{after}",
    params(
        ("before" = inline(Time), Path, description = "The later time", example = "2024-03-31"),
        ("after" = inline(Time), Path, description = "The earlier time", example = "2024-03-01"),
        Seen
    ),
    responses(
        (
            status = 200,
            description = "What was ordered, by time. With `Accept: application/x-ndjson` one JSON object per line",
            content(
                (Vec<OrderedItemOfCustomer> = "application/json"),
                (String = "application/x-ndjson", example = line_of_item)
            )
        ),
        BadRequest,
        Failures
    )
)]
pub async fn list_between(
    State(orders): State<OrderService>,
    dates: Result<Path<(String, String)>, PathRejection>,
    Seen(seen): Seen,
    headers: HeaderMap,
    permit: StreamPermit,
) -> Result<Response, Error> {
    let Path((before, after)) = dates?;
    let (before, after) = (before.parse()?, after.parse()?);
    let format = Format::accepted(&headers);
    let pages = orders.list_between(&after, before, format.separator(), seen);
    respond(format, pages, permit).await
}

/// Places an order.
#[utoipa::path(
    post,
    path = "/api/add_new_order",
    params(IdempotencyKey),
    request_body = NewOrder,
    responses(
        (
            status = 201,
            description = "The order was stored",
            body = StoredOrder,
            headers(
                ("Location" = String, description = "The path of the order's total"),
                (
                    "Market-Position" = Option<String>,
                    description = "A read that sends this header finds the order. Only a \
                                   database with standbys sends it"
                )
            )
        ),
        BadRequest,
        Unprocessable,
        Failures
    )
)]
pub async fn place(
    State(orders): State<OrderService>,
    IdempotencyKey(key): IdempotencyKey,
    order: Result<Json<Object<NewOrder>>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(Object(order)) = order?;
    let Placed { id, position } = orders.place(order, key).await?;
    let position = position.map(|position| [(MARKET_POSITION, position.to_string())]);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/api/order_total/{id}"))],
        position,
        Json(StoredOrder { order_id: id }),
    ))
}
