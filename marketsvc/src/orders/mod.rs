//! Orders: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod headers;
mod model;
mod service;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::Db;
use crate::docs;

pub use entity::{Order, OrderCustomer, OrderItem, OrderedItemOfCustomer};
pub use headers::{IDEMPOTENCY_KEY, IdempotencyKey, MARKET_POSITION, Position, Seen};
pub use model::{KeyedOrder, NewOrder, NewOrderItem, Placed};
pub use service::{MAX_QUANTITY, MAX_TASKS, OrderService};

/// The endpoints of this module, and the service behind them.
pub fn routes(db: Db) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list_of_customer))
        .routes(routes!(controller::total))
        .routes(routes!(controller::totals))
        .routes(routes!(controller::list_between))
        .routes(routes!(controller::place))
        .with_state(OrderService::new(db));
    docs::module("orders", router)
}
