//! A query that takes long: `GET /book/extensive_query`. It exists to be measured, and
//! only a service that was started with `--demo` has it.
//!
//! A database that works on a query keeps a connection busy, and the service has nothing
//! to do but wait.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::calls::logged;
use crate::db::Db;
use crate::docs::{BadRequest, Failures};
use crate::error::Error;

/// Runs slow queries. Its clones share the database.
#[derive(Clone, Debug)]
pub struct SlowQueries {
    db: Db,
}

impl SlowQueries {
    /// Creates a service whose queries hold a connection of `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Runs a query that takes `duration` from when it has a connection.
    ///
    /// # Errors
    /// As [`Database::slow_query`](crate::db::Database::slow_query).
    pub async fn run(&self, duration: Duration) -> Result<(), Error> {
        logged("books.extensive_query", self.db.slow_query(duration)).await
    }
}

/// The query string: `seconds=0.05`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExtensiveQuery {
    /// How long the query takes, in seconds, from 0 to 10; 5 without it.
    #[param(minimum = 0, maximum = 10, default = 5, example = 0.05)]
    pub seconds: Option<f64>,
}

impl ExtensiveQuery {
    /// Returns how many seconds the query takes.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if they are not a number from 0 to 10.
    pub fn seconds(&self) -> Result<f64, Error> {
        let seconds = self.seconds.unwrap_or(5.0);
        if !(0.0..=10.0).contains(&seconds) {
            return Err(Error::BadRequest("the seconds must be from 0 to 10"));
        }
        Ok(seconds)
    }
}

/// The answer of `GET /book/extensive_query`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Extensive {
    /// How long the query took, in seconds.
    #[schema(example = 0.05)]
    pub seconds: f64,
}

/// A query that takes long.
///
/// It holds a connection to the database as long as the client says.
#[utoipa::path(
    get,
    path = "/book/extensive_query",
    params(ExtensiveQuery),
    responses(
        (status = 200, description = "The query has ended", body = Extensive),
        BadRequest,
        Failures
    )
)]
pub async fn extensive_query(
    State(queries): State<SlowQueries>,
    query: Result<Query<ExtensiveQuery>, QueryRejection>,
) -> Result<Json<Extensive>, Error> {
    let seconds = query?.0.seconds()?;
    queries.run(Duration::from_secs_f64(seconds)).await?;
    Ok(Json(Extensive { seconds }))
}
