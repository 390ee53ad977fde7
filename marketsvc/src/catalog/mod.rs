//! An author together with a first book: two writes for one request, in one transaction or
//! in two.

mod controller;
mod model;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::authors::AuthorService;
use crate::books::BookService;
use crate::db::Db;
use crate::docs;

pub use model::{CatalogBook, CatalogEntry};

/// The services of other modules that this one uses.
#[derive(Clone, Debug)]
struct Services {
    authors: AuthorService,
    books: BookService,
}

/// The endpoints of this module.
pub fn routes(db: Db) -> OpenApiRouter {
    let router = OpenApiRouter::new()
        .routes(routes!(controller::create))
        .routes(routes!(controller::create_separately))
        .with_state(Services {
            authors: AuthorService::new(db.clone()),
            books: BookService::new(db),
        });
    docs::module("catalog", router)
}
