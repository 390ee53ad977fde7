//! HTTP: routes, what goes over the wire, and nothing about SQL.

mod admission;
pub mod customers;
pub mod extract;
mod guard;
pub mod orders;
pub mod probes;
pub mod stream;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{MethodRouter, get};

use self::admission::Admission;
use self::guard::Guard;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::{Error, Limits};

/// A path and what is there, with a guard around each handler. Its path is also
/// its name in the metrics and the log.
type PathAndHandlers = (&'static str, fn(&Arc<Guard>) -> MethodRouter<AppState>);

/// What every handler can reach. Clones are the same one.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

/// See [`AppState`].
#[derive(Debug)]
pub struct Shared {
    pub db: Db,
    pub limits: Limits,
    pub(crate) metrics: Metrics,
    admission: Admission,
    stopping: AtomicBool,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// A service that has answered nothing yet.
    pub fn new(db: Db, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            metrics: Metrics::new(&db),
            db,
            admission: Admission::new(limits.in_flight, limits.refusal_delay),
            stopping: AtomicBool::new(false),
            limits,
        }))
    }

    /// From now on the service says that it is not ready.
    pub fn say_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The whole service as a router, without a socket.
pub fn app(state: AppState) -> Router {
    let welcome: PathAndHandlers = ("/", |guard| get(guard.around(welcome)));
    let routes = [welcome]
        .into_iter()
        .chain(customers::routes())
        .chain(orders::routes())
        .map(|(path, handlers)| (path, handlers, true))
        .chain(probes::routes().map(|(path, handlers)| (path, handlers, false)));
    let mut service = Router::new();
    for (path, handlers, sheds) in routes {
        let guard = Guard::new(&state, path, sheds);
        let no_such_method = guard.around(no_such_method);
        service = service.route(path, handlers(&guard).fallback(no_such_method));
    }
    let guard = Guard::new(&state, "none", true);
    service
        .fallback(guard.around(no_such_path))
        .with_state(state)
}

async fn welcome() -> axum::Json<&'static str> {
    axum::Json("Welcome to Marketplace!")
}

async fn no_such_path() -> Error {
    Error::NotFound("there is nothing at this path".to_owned())
}

async fn no_such_method() -> Error {
    Error::MethodNotAllowed
}
