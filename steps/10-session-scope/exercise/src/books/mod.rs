//! Books: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use axum::Router;
use axum::routing::get;

use crate::db::base::Engine;

pub use entity::Book;
pub use model::{BookChange, NewBook};
pub use service::BookService;

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/book", get(controller::list).post(controller::create))
        .route(
            "/book/{id}",
            get(controller::get)
                .put(controller::replace)
                .patch(controller::update)
                .delete(controller::delete),
        )
        .with_state(BookService::new(engine))
}
