//! Customers: their endpoint, and what the market does with them.

mod controller;
mod entity;
mod service;

use axum::Router;
use axum::routing::get;

use crate::db::base::Engine;

pub use entity::{Address, Customer};
pub use service::CustomerService;

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/api/customers", get(controller::list))
        .with_state(CustomerService::new(engine))
}
