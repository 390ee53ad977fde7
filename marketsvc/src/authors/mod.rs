//! The authors of books: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::Db;
use crate::docs;

pub use entity::Author;
pub use model::NewAuthor;
pub use service::AuthorService;

/// The endpoints of this module, and the service behind them.
pub fn routes(db: Db) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list, controller::create))
        .routes(routes!(controller::get, controller::delete))
        .with_state(AuthorService::new(db));
    docs::module("authors", router)
}
