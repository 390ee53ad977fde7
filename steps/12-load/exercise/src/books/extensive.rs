//! A query that takes long: `GET /book/extensive_query`. It exists to be measured.
//!
//! A database that works on a query keeps a connection busy, and the service has nothing
//! to do but wait. SQLite has no statement that waits, so here the connection is held
//! while a timer runs.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::calls::logged;
use crate::db::base::Engine;
use crate::docs::{BadRequest, Failures};
use crate::error::Error;

/// How a slow query waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It awaits its end. The thread runs other tasks meanwhile.
    #[default]
    Async,
    /// It blocks the thread that runs the handler.
    Blocking,
    /// It blocks a thread that the runtime keeps for blocking work.
    SpawnBlocking,
}

/// Runs slow queries. Its clones share the engine's pool.
#[derive(Clone, Debug)]
pub struct SlowQueries {
    engine: Engine,
    slow: Slow,
}

impl SlowQueries {
    /// Creates a service whose queries hold a connection of `engine`, and wait as `slow`
    /// says.
    pub fn new(engine: Engine, slow: Slow) -> Self {
        Self { engine, slow }
    }

    /// Runs a query that takes `duration` from when it has a connection.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire timeout.
    ///
    /// # Cancel safety
    /// With [`Slow::Async`], dropping the future gives the connection back at once. With
    /// the other two, the thread sleeps to its end and holds the connection until then,
    /// even if [`Slow::SpawnBlocking`] has no thread yet when the future is dropped.
    pub async fn run(&self, duration: Duration) -> Result<(), Error> {
        logged("books.extensive_query", async {
            match self.slow {
                Slow::Async => wait(&self.engine, duration).await,
                Slow::Blocking => block(&self.engine, duration).await,
                Slow::SpawnBlocking => block_elsewhere(&self.engine, duration).await,
            }
        })
        .await
    }
}

/// Holds a connection for `duration`, and lets the thread run other tasks meanwhile.
async fn wait(engine: &Engine, duration: Duration) -> Result<(), Error> {
    // TODO(12.1): hold a connection of the pool while a timer runs
    let _ = (engine, duration); // remove this line and the next
    todo!("wait with a connection of the pool")
    // END TODO(12.1)
}

/// Holds a connection for `duration`, and blocks the thread that polls it.
async fn block(engine: &Engine, duration: Duration) -> Result<(), Error> {
    // TODO(12.2): hold a connection while this thread sleeps
    let _ = (engine, duration); // remove this line and the next
    todo!("block this thread with a connection of the pool")
    // END TODO(12.2)
}

/// Holds a connection for `duration`, and blocks one of the runtime's threads for
/// blocking work. It takes the thread when it has the connection, not before.
async fn block_elsewhere(engine: &Engine, duration: Duration) -> Result<(), Error> {
    // TODO(12.2): hold a connection while a thread for blocking work sleeps
    let _ = (engine, duration); // remove this line and the next
    todo!("block another thread with a connection of the pool")
    // END TODO(12.2)
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
        // TODO(12.1): take 5 seconds if the client names none; refuse numbers outside 0 to 10
        let _ = self.seconds; // remove this line and the next
        todo!("check the seconds")
        // END TODO(12.1)
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
