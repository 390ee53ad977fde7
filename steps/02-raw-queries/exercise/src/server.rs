//! HTTP: the routes and their handlers.

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Json, Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::db::base::Engine;
use crate::db_accessor;
use crate::error::Error;
use crate::types::{Customer, NewOrder, OrderedItem, OrderedItemOfCustomer};

/// Builds the router: all routes and their handlers, without a socket.
pub fn app(engine: Engine) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/api/customers", get(customers))
        .route("/api/orders/{cust_id}", get(orders))
        .route("/api/order_total/{order_id}", get(order_total))
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

async fn customers(State(engine): State<Engine>) -> Result<Json<Vec<Customer>>, Error> {
    Ok(Json(db_accessor::get_customers(&engine).await?))
}

/// axum fills each parameter from the request; such a parameter is called an
/// *extractor*. With `Result<Path<_>, _>` the handler itself decides how it answers
/// a path that is not valid.
async fn orders(
    State(engine): State<Engine>,
    customer_id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Vec<OrderedItem>>, Error> {
    let Path(customer_id) = customer_id?;
    let orders = db_accessor::get_orders_of_customer(&engine, customer_id).await?;
    Ok(Json(orders))
}

/// Returns `{"Order Total": 30.0}`. The total is `null` for an order that has
/// no items or does not exist.
async fn order_total(
    State(engine): State<Engine>,
    order_id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Value>, Error> {
    // TODO(02.6): read the id, query the total, return {"Order Total": …}
    let _ = (engine, order_id); // remove this line and the next
    todo!("read the id, query the total, return {{\"Order Total\": …}}")
    // END TODO(02.6)
}

/// In the path, the later of the two times comes first.
async fn orders_between_dates(
    State(engine): State<Engine>,
    dates: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Vec<OrderedItemOfCustomer>>, Error> {
    let Path((before, after)) = dates?;
    let (before, after) = (before.parse()?, after.parse()?);
    let orders = db_accessor::get_orders_between_dates(&engine, &after, &before).await?;
    Ok(Json(orders))
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
