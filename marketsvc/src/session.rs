//! One transaction for one request: the handler uses it, and a layer ends it.
//!
//! ```text
//! layer:   a Session without a transaction is put into the request
//! handler: session.write().await?  begins the transaction, once
//! layer:   the status is below 400: COMMIT, else ROLLBACK; then the head is sent
//! ```

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::db::base::Engine;
use crate::error::Error;

/// The transaction of a request. As a parameter of a handler it is the one that
/// [`layer`] commits or rolls back after the handler. Clones share it.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    state: Arc<Mutex<SessionState>>,
}

#[derive(Debug)]
enum SessionState {
    /// Nobody has written yet, so there is no transaction and no connection.
    Unused,
    Open(Transaction<'static, Sqlite>),
    /// The layer has committed or rolled back.
    Ended,
}

impl Session {
    fn new(engine: Engine) -> Self {
        Self {
            engine,
            state: Arc::new(Mutex::new(SessionState::Unused)),
        }
    }

    /// Returns the connection of this request's transaction. The first call begins
    /// it, and holds a connection and the database's write lock from then on; later
    /// calls return the same one. Keep the guard only while you use it: a second call
    /// waits until the guard of the first is dropped.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire timeout,
    /// or if another transaction holds the write lock for longer than the busy
    /// timeout. [`Error::SessionEnded`] after the layer has ended the session: a
    /// response that is still being sent cannot write any more.
    ///
    /// # Cancel safety
    /// Dropping the future begins nothing, or leaves a transaction that the layer ends.
    pub async fn write(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>, Error> {
        let mut state = self.state.lock().await;
        if let SessionState::Unused = *state {
            *state = SessionState::Open(self.engine.begin().await?);
        }
        MutexGuard::try_map(state, |state| match state {
            SessionState::Open(transaction) => Some(&mut **transaction),
            _ => None,
        })
        .map_err(|_| Error::SessionEnded)
    }

    /// Commits what was written, if anything was, and gives the connection back.
    async fn commit(&self) -> Result<(), Error> {
        match self.end()? {
            SessionState::Open(transaction) => Ok(transaction.commit().await?),
            _ => Ok(()),
        }
    }

    /// Undoes what was written, if anything was, and gives the connection back.
    async fn roll_back(&self) -> Result<(), Error> {
        match self.end()? {
            SessionState::Open(transaction) => Ok(transaction.rollback().await?),
            _ => Ok(()),
        }
    }

    /// Takes the transaction out, so that nothing can write any more.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] if something still holds a guard: see [`layer`].
    fn end(&self) -> Result<SessionState, Error> {
        let mut state = self.state.try_lock().map_err(|_| Error::SessionEnded)?;
        Ok(std::mem::replace(&mut *state, SessionState::Ended))
    }
}

/// A handler with a parameter `Session` gets the one that [`layer`] has made.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or(Error::NoSession)
    }
}

/// Gives each request a [`Session`], and ends it before the response is sent: by
/// COMMIT if the status is below 400, else by ROLLBACK. If either fails, the client
/// gets that error in place of the handler's response, and nothing is stored.
///
/// The layer does not wait for a guard that [`Session::write`] has returned. If there is
/// still one, the layer cannot end the session: the client gets [`Error::SessionEnded`],
/// and nothing is committed. The transaction is rolled back when the guard and the last
/// clone of the session are dropped, and it keeps the write lock until then.
///
/// # Cancel safety
/// A request that is dropped drops its transaction, which rolls it back.
pub async fn layer(State(engine): State<Engine>, mut request: Request, next: Next) -> Response {
    let session = Session::new(engine);
    request.extensions_mut().insert(session.clone());
    let response = next.run(request).await;
    let ended = if response.status().as_u16() < 400 {
        session.commit().await
    } else {
        session.roll_back().await
    };
    match ended {
        Ok(()) => response,
        Err(error) => error.into_response(),
    }
}
