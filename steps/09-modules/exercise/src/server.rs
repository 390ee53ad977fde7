//! HTTP: the routes and their handlers.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::body::{Format, respond};
use crate::db::base::Engine;
use crate::db_accessor;
use crate::error::Error;
use crate::types::{Money, NewOrder, OrdersBody, OrdersQuery};

/// Builds the router: all routes and their handlers, without a socket.
pub fn app(engine: Engine) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/api/customers", get(customers))
        .route("/api/orders/{cust_id}", get(orders))
        .route("/api/order_total/{order_id}", get(order_total))
        .route("/api/orders_total", get(orders_total))
        .route(
            "/api/orders_between_dates/{before}/{after}",
            get(orders_between_dates),
        )
        .route("/api/add_new_order", post(add_new_order))
        // Handlers with a parameter `State<Engine>` receive a clone of the engine.
        .with_state(engine)
}

/// Serves requests from `listener` until `shutdown` completes, and then waits
/// until the running requests are finished.
///
/// # Errors
/// Returns the error that the listener's socket reports.
pub async fn run(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    engine: Engine,
) -> std::io::Result<()> {
    axum::serve(listener, app(engine))
        .with_graceful_shutdown(shutdown)
        .await
}

async fn welcome() -> Json<&'static str> {
    Json("Welcome to Marketplace!")
}

async fn customers(State(engine): State<Engine>, headers: HeaderMap) -> Result<Response, Error> {
    respond(
        Format::accepted(&headers),
        db_accessor::get_customers(&engine),
    )
    .await
}

/// axum fills each parameter from the request; such a parameter is called an
/// *extractor*. With `Result<Path<_>, _>` the handler itself decides how it answers
/// a path that is not valid.
async fn orders(
    State(engine): State<Engine>,
    customer_id: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path(customer_id) = customer_id?;
    respond(
        Format::accepted(&headers),
        db_accessor::get_orders_of_customer(&engine, customer_id),
    )
    .await
}

/// Returns `{"Order Total": 30.0}`. The total is `null` for an order that has
/// no items or does not exist.
async fn order_total(
    State(engine): State<Engine>,
    order_id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Error> {
    let Path(order_id) = order_id?;
    let total = db_accessor::get_total_cost_of_an_order(&engine, order_id).await?;
    Ok(Json(json!({ "Order Total": total })))
}

/// Returns `[30.0, 12.0, null]`: a total for each id, in the order of the ids.
async fn orders_total(
    State(engine): State<Engine>,
    query: Result<Query<OrdersQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Vec<Option<Money>>>, Error> {
    let order_ids = order_ids(query?.0, &body?)?;
    let totals = db_accessor::get_total_cost_of_orders(&engine, order_ids).await?;
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
async fn orders_between_dates(
    State(engine): State<Engine>,
    dates: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path((before, after)) = dates?;
    let (before, after) = (before.parse()?, after.parse()?);
    respond(
        Format::accepted(&headers),
        db_accessor::get_orders_between_dates(&engine, &after, &before),
    )
    .await
}

/// Returns 201 with the new order's id. The `Location` header is the path of
/// the order's total.
async fn add_new_order(
    State(engine): State<Engine>,
    order: Result<Json<NewOrder>, JsonRejection>,
) -> Result<impl IntoResponse, Error> {
    let Json(order) = order?;
    let order_id =
        db_accessor::add_new_order_for_customer(&engine, order.customer_id, &order.items).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/api/order_total/{order_id}"))],
        Json(json!({ "order_id": order_id })),
    ))
}
