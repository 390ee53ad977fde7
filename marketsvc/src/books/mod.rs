//! Books: their endpoints, and what the market does with them.

mod controller;
mod entity;
mod extensive;
mod model;
mod service;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::Db;
use crate::docs;

pub use entity::Book;
pub use extensive::{ExtensiveQuery, SlowQueries};
pub use model::{BookChange, NewBook};
pub use service::BookService;

/// The endpoints of this module, and the services behind them. The slow query is among
/// them only if `demo` is set.
pub fn routes(db: Db, demo: bool) -> OpenApiRouter {
    let mut extensive = OpenApiRouter::new();
    if demo {
        extensive = extensive.merge(
            OpenApiRouter::new()
                .routes(routes!(extensive::extensive_query))
                .with_state(SlowQueries::new(db.clone())),
        );
    }
    let router = OpenApiRouter::new()
        .routes(routes!(controller::list, controller::create))
        .routes(routes!(
            controller::get,
            controller::replace,
            controller::update,
            controller::delete
        ));
    let router = router.with_state(BookService::new(db));
    docs::module("books", router.merge(extensive))
}
