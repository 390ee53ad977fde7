//! Orders: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;
pub mod totals;
pub mod writer;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::base::Engine;
use crate::docs;

pub use entity::{Order, OrderCustomer, OrderItem, OrderedItemOfCustomer};
pub use model::{NewOrder, NewOrderItem};
pub use service::{MAX_QUANTITY, MAX_TASKS, OrderService};
pub use totals::Totals;
pub use writer::Writer;

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine, totals: Totals, writer: Writer) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list_of_customer))
        .routes(routes!(controller::total))
        .routes(routes!(controller::totals))
        .routes(routes!(controller::list_between))
        .routes(routes!(controller::place))
        .with_state(OrderService::new(engine, totals, writer));
    docs::module("orders", router)
}
