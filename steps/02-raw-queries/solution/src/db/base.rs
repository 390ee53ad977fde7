//! The engine: it knows where the database is, and it runs queries there.

use std::str::FromStr;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Sqlite};

use crate::error::Error;

/// SQL text together with the values for its placeholders `$1`, `$2`, …
///
/// The values are sent to SQLite separately from the text, so SQLite never
/// reads a value as SQL.
pub type SqlQuery = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Runs SQL. In this step, each call opens a connection of its own.
#[derive(Clone, Debug)]
pub struct Engine {
    options: SqliteConnectOptions,
}

impl Engine {
    /// Creates an engine for the database at `url`, such as
    /// `sqlite://marketdb.sqlite`. This does no I/O: if the database cannot be
    /// opened, the first query fails.
    ///
    /// # Errors
    /// [`Error::Database`] if `url` is not an SQLite URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            options: SqliteConnectOptions::from_str(url)?,
        })
    }

    /// Opens a connection and returns it. The caller owns the connection:
    /// dropping it closes it.
    ///
    /// # Errors
    /// [`Error::Database`] if the database cannot be opened.
    pub async fn connect(&self) -> Result<SqliteConnection, Error> {
        Ok(self.options.connect().await?)
    }

    /// Opens a connection, runs a query over it and returns all of the rows.
    ///
    /// # Errors
    /// [`Error::Database`] if the connection cannot be opened, or if the query
    /// or the close fails.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. A `SELECT` changes nothing,
    /// so it leaves nothing half done.
    pub async fn execute_query(&self, query: SqlQuery) -> Result<Vec<SqliteRow>, Error> {
        // TODO(02.1): connect, fetch all rows, close the connection
        let mut connection = self.connect().await?;
        // There is no `?` on this line, so the function waits for the close even
        // if the query fails. With `?`, the drop would close the connection a
        // moment later.
        let rows = query.fetch_all(&mut connection).await;
        connection.close().await?;
        Ok(rows?)
        // END TODO(02.1)
    }

    /// Opens a connection, runs one `INSERT` over it and returns the id of the
    /// new row.
    ///
    /// # Errors
    /// [`Error::Database`] if the connection cannot be opened, or if the
    /// statement or the close fails. If only the close fails, the row is stored;
    /// otherwise it is not.
    ///
    /// # Cancel safety
    /// The row is either stored completely or not at all. A caller that drops
    /// the future cannot tell which of the two happened.
    pub async fn execute_insert_query(&self, query: SqlQuery) -> Result<i64, Error> {
        // TODO(02.2): connect, execute, close, return the id of the new row
        let mut connection = self.connect().await?;
        let done = query.execute(&mut connection).await;
        connection.close().await?;
        Ok(done?.last_insert_rowid())
        // END TODO(02.2)
    }

    /// Opens a connection and runs several `INSERT`s over it in one
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Database`] if the connection cannot be opened, or if a
    /// statement, the commit or the close fails. If only the close fails, all
    /// rows are stored; otherwise none are.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit has
    /// already been sent.
    pub async fn execute_insert_queries(&self, queries: Vec<SqlQuery>) -> Result<(), Error> {
        // TODO(02.3): connect, begin, execute each query, commit, close
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        for query in queries {
            // If `?` returns early, it drops the transaction, which rolls back,
            // and the connection, which closes.
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        connection.close().await?;
        Ok(())
        // END TODO(02.3)
    }
}
