//! Orders: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use axum::Router;
use axum::routing::{get, post};

use crate::db::base::Engine;

pub use entity::{Item, Order, OrderCustomer, OrderItem, OrderedItemOfCustomer};
pub use model::{NewOrder, NewOrderItem};
pub use service::{MAX_QUANTITY, OrderService};

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/api/orders/{cust_id}", get(controller::list_of_customer))
        .route("/api/order_total/{order_id}", get(controller::total))
        .route("/api/orders_total", get(controller::totals))
        .route(
            "/api/orders_between_dates/{before}/{after}",
            get(controller::list_between),
        )
        .route("/api/add_new_order", post(controller::place))
        .with_state(OrderService::new(engine))
}
