//! Books: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod model;
mod service;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use crate::db::base::Engine;
use crate::docs;

pub use entity::Book;
pub use model::{BookChange, NewBook};
pub use service::BookService;

/// The endpoints of this module, and the service behind them.
pub fn routes(engine: Engine) -> OpenApiRouter {
    // TODO(11.2): register the handlers together with their descriptions
    let router = OpenApiRouter::new()
        .route("/book", get(controller::list).post(controller::create))
        .route(
            "/book/{id}",
            get(controller::get)
                .put(controller::replace)
                .patch(controller::update)
                .delete(controller::delete),
        );
    // END TODO(11.2)
    docs::module("books", router.with_state(BookService::new(engine)))
}
