//! The authors of books: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use axum::Router;
use axum::routing::get;

use crate::db::base::Engine;

pub use entity::Author;
pub use model::NewAuthor;
pub use service::AuthorService;

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/author", get(controller::list).post(controller::create))
        .route(
            "/author/{id}",
            get(controller::get).delete(controller::delete),
        )
        .with_state(AuthorService::new(engine))
}
