//! The engine: where the database is and how a query is run there.

use std::str::FromStr;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Sqlite};

use crate::error::Error;

/// SQL text together with the values for its `$1`, `$2`, …
///
/// The values travel apart from the text, so a value can never be read as SQL.
pub type SqlQuery = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Runs SQL. In this step it opens a connection for each call.
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
        // TODO(02.1): connect, fetch all rows, close the connection
        let _ = query; // remove this line and the next
        todo!("connect, fetch all rows, close the connection")
        // END TODO(02.1)
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
        // TODO(02.2): connect, execute, close, return the id of the new row
        let _ = query; // remove this line and the next
        todo!("connect, execute, close, return the id of the new row")
        // END TODO(02.2)
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
        // TODO(02.3): connect, begin, execute each query, commit, close
        let _ = queries; // remove this line and the next
        todo!("connect, begin, execute each query, commit, close")
        // END TODO(02.3)
    }
}
