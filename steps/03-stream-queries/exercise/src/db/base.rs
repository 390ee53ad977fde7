//! The engine: where the database is and how a query is run there.

use std::str::FromStr;

use futures::stream::BoxStream;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Sqlite};

use crate::error::Error;

/// SQL text together with the values for its `$1`, `$2`, …
///
/// The values travel apart from the text, so a value can never be read as SQL.
pub type SqlQuery = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Values that arrive one at a time, until the first error.
///
/// The box hides the stream's own type, which is too long to write down.
/// `'static` says that the stream owns all that it needs.
pub type Rows<T> = BoxStream<'static, Result<T, Error>>;

/// Runs SQL. It opens a connection for each call.
#[derive(Clone, Debug)]
pub struct Engine {
    options: SqliteConnectOptions,
}

impl Engine {
    /// An engine for the database at `url`, such as `sqlite://marketdb.sqlite`.
    /// Does no I/O: a database that cannot be opened fails at the first query.
    ///
    /// # Errors
    /// [`Error::Database`] if `url` is not an SQLite URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            options: SqliteConnectOptions::from_str(url)?,
        })
    }

    /// Opens a connection, which is the caller's: dropping it closes it.
    ///
    /// # Errors
    /// [`Error::Database`] if the file is missing or is not a database.
    pub async fn connect(&self) -> Result<SqliteConnection, Error> {
        Ok(self.options.connect().await?)
    }

    /// Runs a query over a connection of its own and returns all of its rows.
    ///
    /// # Errors
    /// [`Error::Database`] if connecting or the query fails.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. A query changes nothing.
    pub async fn execute_query(&self, query: SqlQuery) -> Result<Vec<SqliteRow>, Error> {
        let mut connection = self.connect().await?;
        // No `?` yet, so that a failed query waits for the close, too. With `?` the
        // drop would close it a moment later.
        let rows = query.fetch_all(&mut connection).await;
        connection.close().await?;
        Ok(rows?)
    }

    /// Runs a query over a connection of its own and gives its rows one at a
    /// time, as the database finds them. Nothing happens, not even connecting,
    /// until the first row is asked for.
    ///
    /// # Errors
    /// The stream's last item is [`Error::Database`] if connecting or the query
    /// fails.
    ///
    /// # Cancel safety
    /// Dropping the stream closes the connection; rows not yet asked for are
    /// never read.
    pub fn stream_query(&self, query: SqlQuery) -> Rows<SqliteRow> {
        // TODO(03.1): write an async generator: connect, yield each row, close
        drop(query); // remove this line and the next
        todo!("write an async generator: connect, yield each row, close")
        // END TODO(03.1)
    }

    /// Runs one `INSERT` over a connection of its own and returns the new
    /// row's id.
    ///
    /// # Errors
    /// [`Error::Database`] if connecting or the statement fails. Then nothing
    /// is stored.
    ///
    /// # Cancel safety
    /// The row is stored whole or not at all; which of the two, a caller that
    /// dropped the future does not know.
    pub async fn execute_insert_query(&self, query: SqlQuery) -> Result<i64, Error> {
        let mut connection = self.connect().await?;
        let done = query.execute(&mut connection).await;
        connection.close().await?;
        Ok(done?.last_insert_rowid())
    }

    /// Runs several `INSERT`s over one connection in one transaction.
    ///
    /// # Errors
    /// [`Error::Database`] if one of them fails. Then none is stored.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit had
    /// been sent already.
    pub async fn execute_insert_queries(&self, queries: Vec<SqlQuery>) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        for query in queries {
            // `?` drops the transaction, which rolls it back, and the
            // connection, which closes it.
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        connection.close().await?;
        Ok(())
    }
}
