//! The databases that the market can be kept in, behind one trait of use cases.
//!
//! [`Database`] has a method for each thing that the market does with its database, and
//! none for a statement or a transaction: each method begins and ends its own transaction,
//! so a database is free to do it in its own way. SQLite places all orders that wait
//! together in one transaction; PostgreSQL runs a transaction for each, and runs it again
//! if the server asks for that.
//!
//! The program chooses the database once, when it starts: see [`open`]. A text of SQL that
//! is right for both is in [`statements`]; what differs stays readable in the folder of its
//! database.

#[cfg(feature = "postgres")]
pub mod postgres;
pub mod refused;
pub mod sqlite;
pub mod statements;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::authors::{Author, NewAuthor};
use crate::books::{Book, BookChange, NewBook};
use crate::catalog::CatalogBook;
use crate::error::Error;
use crate::orders::{KeyedOrder, Placed, Position};
use crate::page::{Page, TextPage};
use crate::types::{Money, UtcTime};

/// The database of a service. Clones share its connections.
pub type Db = Arc<dyn Database>;

/// A stream of values that arrive one at a time, such as the pages of a list.
///
/// Each item is a value or an error. A consumer stops at the first error; what
/// the stream yields after that is unspecified.
///
/// The box hides the stream's concrete type, which is too long to write down.
/// `'static` means that the stream borrows nothing: it owns everything it
/// needs.
pub type Rows<T> = BoxStream<'static, Result<T, Error>>;

/// The settings of a database.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many connections may be open at the same time, to each server. The default is
    /// 10.
    pub max_connections: u32,
    /// How long a query waits for a free connection. The default is 5 s.
    pub acquire_timeout: Duration,
    /// How long SQLite waits for another connection's lock, and how long a server may take to
    /// answer, with its own wait for locks: `Servers::answer_timeout`. The default is 5 s.
    pub busy_timeout: Duration,
    /// Whether every statement is logged at INFO instead of DEBUG. The default
    /// is `false`.
    pub echo: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            echo: false,
        }
    }
}

/// Opens the database at `url`. A new one gets its tables and the sample data, an older one
/// the migrations that it lacks.
///
/// - `sqlite://market.sqlite`: a file, which is created if it is missing.
/// - `postgres://user@host/market`: a database on a server, which must exist. Several URLs
///   with commas between them are the servers of one cluster.
///
/// # Errors
/// [`Error::Unusable`] if the URL is of another kind, or if the database is not one that
/// this program can use. [`Error::Database`] if it cannot be reached, and as
/// [`sqlite::Sqlite::open`] and `postgres::Postgres::open` say.
///
/// # Panics
/// Outside a Tokio runtime.
pub async fn open(url: &str, settings: Settings) -> Result<Db, Error> {
    if url.starts_with("sqlite:") {
        return Ok(Arc::new(sqlite::Sqlite::open(url, settings).await?));
    }
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        #[cfg(feature = "postgres")]
        return Ok(Arc::new(postgres::Postgres::open(url, settings).await?));
        #[cfg(not(feature = "postgres"))]
        return Err(Error::Unusable(
            "this program was built without PostgreSQL; build it with `--features postgres`",
        ));
    }
    Err(Error::Unusable(
        "the URL must begin with `sqlite:` or `postgres:`",
    ))
}

/// Returns the part of the URL that messages may show. The text before the last `@` and
/// after a `?` is left out, because it may contain a password.
pub fn redact(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    let (hidden, server) = match url.rsplit_once('@') {
        Some((_, server)) => ("…@", server),
        None => ("", url),
    };
    let server = server.split('?').next().unwrap_or_default();
    format!("{hidden}{server}")
}

/// The use cases of the market, and the end of its database.
///
/// # Errors
/// Besides what its own text says, a method may return
///
/// - [`Error::Database`] if the database fails, and [`Error::Json`] if it writes JSON that
///   cannot be read;
/// - [`Error::Shared`] or [`Error::BatchLost`] if it is part of a [batch](crate::batch) that
///   fails or panics: a total, and on SQLite also a new order;
/// - on SQLite [`Error::FileGone`], if it writes;
/// - on PostgreSQL [`Error::NoAnswer`], [`Error::NoPrimary`] and, if it writes,
///   [`Error::OutcomeUnknown`], which means that the answer to the commit did not arrive.
///
/// After an error, nothing is changed, with two exceptions: what has an unknown outcome may
/// be stored, and so may a new order whose batch has failed ([`sqlite::writer`] says when).
///
/// # Cancel safety
/// A method that is dropped does its work wholly or not at all. The work may be done after
/// the drop: a batch goes on without its callers, and so does a commit that was sent.
#[async_trait]
pub trait Database: Customers + Orders + Authors + Books + Debug {
    /// Makes sure that the database can be read.
    ///
    /// # Errors
    /// Why it cannot be; the reason is logged.
    async fn ping(&self) -> Result<(), Error>;

    /// Holds a connection for `duration`, as a slow query does.
    ///
    /// # Errors
    /// [`Error::Database`] if no connection becomes free within the acquire timeout.
    ///
    /// # Cancel safety
    /// Dropping the future gives the connection back.
    async fn slow_query(&self, duration: Duration) -> Result<(), Error>;

    /// Returns how many connections the pools have open. Connections outside a pool do not
    /// count: those of SQLite's batches, and those that ask servers for their roles.
    fn connections(&self) -> u32;

    /// Waits until every other clone of this database is gone and its tasks have ended, and
    /// closes its connections. It waits as long as somebody keeps a clone.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connections are closed only when nobody uses them.
    async fn close(self: Arc<Self>);
}

/// The use cases of customers.
#[async_trait]
pub trait Customers: Send + Sync {
    /// Returns a page of customers with their addresses, ordered by id, after the id
    /// `after`.
    async fn customers(&self, after: i64, separator: &str) -> Result<TextPage<i64>, Error>;
}

/// The key of a line in the list between two times: the time of its order, the id of its
/// order, and the number of the line.
pub type LineKey = (String, i64, i64);

/// The use cases of orders. A client that has seen the database at a position
/// (`seen`) gets nothing older.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Returns a page of a customer's orders with their items, ordered by id, after the id
    /// `after`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such customer.
    async fn orders_of_customer(
        &self,
        customer_id: i64,
        after: i64,
        separator: &str,
        seen: Option<Position>,
    ) -> Result<TextPage<i64>, Error>;

    /// Returns a page of the lines whose key is greater than `after`, up to those that were
    /// ordered at the time `before`.
    async fn lines_between(
        &self,
        after: LineKey,
        before: &UtcTime,
        separator: &str,
        seen: Option<Position>,
    ) -> Result<TextPage<LineKey>, Error>;

    /// Returns what an order costs; `None` if it has no items.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such order.
    async fn order_total(
        &self,
        order_id: i64,
        seen: Option<Position>,
    ) -> Result<Option<Money>, Error>;

    /// Stores a new order. An order with a key that is stored already is not stored again.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] if the customer or an item does not exist, or if the key is
    /// that of an order with other content; nothing is stored then.
    async fn place_order(&self, order: KeyedOrder) -> Result<Placed, Error>;
}

/// The use cases of authors.
#[async_trait]
pub trait Authors: Send + Sync {
    /// Returns a page of authors, ordered by id.
    async fn authors(&self, page: Page) -> Result<Vec<Author>, Error>;

    /// Returns the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    async fn author(&self, id: i64) -> Result<Author, Error>;

    /// Stores a new author and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another author has the name.
    async fn create_author(&self, author: &NewAuthor) -> Result<Author, Error>;

    /// Removes the author with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Conflict`] if a book is by this
    /// author.
    async fn delete_author(&self, id: i64) -> Result<(), Error>;
}

/// The use cases of books. A `price` is what [`NewBook::validate`] has returned for the `book`
/// before it.
#[async_trait]
pub trait Books: Send + Sync {
    /// Returns a page of books, ordered by id.
    async fn books(&self, page: Page) -> Result<Vec<Book>, Error>;

    /// Returns the book with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    async fn book(&self, id: i64) -> Result<Book, Error>;

    /// Stores a new book and returns it with its id.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another book has the name, [`Error::Unprocessable`] if the
    /// author does not exist.
    async fn create_book(&self, book: &NewBook, price: Money) -> Result<Book, Error>;

    /// Stores an author together with a first book: both, or neither.
    ///
    /// # Errors
    /// As [`Authors::create_author`] and [`Self::create_book`].
    async fn create_author_and_book(
        &self,
        author: &NewAuthor,
        book: &CatalogBook,
    ) -> Result<(Author, Book), Error>;

    /// Gives the book with this id new values, all of them, and returns it.
    ///
    /// # Errors
    /// As [`Self::create_book`], and [`Error::NotFound`] if there is no such book.
    async fn replace_book(&self, id: i64, book: &NewBook, price: Money) -> Result<Book, Error>;

    /// Gives the book with this id the values that `change` holds, and returns it. Of two
    /// changes at the same time, neither undoes the other's fields.
    ///
    /// # Errors
    /// As [`Self::replace_book`], and [`Error::Unprocessable`] if a value is not
    /// acceptable.
    async fn update_book(&self, id: i64, change: &BookChange) -> Result<Book, Error>;

    /// Removes the book with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    async fn delete_book(&self, id: i64) -> Result<(), Error>;
}
