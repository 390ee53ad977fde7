//! Orders: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::base::Engine;
use crate::docs;

pub use entity::{Item, Order, OrderCustomer, OrderItem, OrderedItemOfCustomer};
pub use model::{NewOrder, NewOrderItem};
pub use service::{MAX_QUANTITY, OrderService};

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list_of_customer))
        .routes(routes!(controller::total))
        .routes(routes!(controller::totals))
        .routes(routes!(controller::list_between))
        .routes(routes!(controller::place))
        .with_state(OrderService::new(engine));
    docs::module("orders", router)
}
