//! Customers: their endpoint, and what the market does with them.

mod controller;
mod entity;
mod service;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::Db;
use crate::docs;

pub use entity::{Address, Customer};
pub use service::CustomerService;

/// The endpoints of this module, and the service behind them.
pub fn routes(db: Db) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list))
        .with_state(CustomerService::new(db));
    docs::module("customers", router)
}
