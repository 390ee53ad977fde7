//! Long lists in pages (*keyset pagination*): a page starts after the last id of the
//! page before.

use async_stream::try_stream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::db::Rows;
use crate::error::Error;

/// The most rows in a page of a list, which the database writes as one text. A row is a few
/// numbers and at most two names. So a page has about 45 KB if names have about 15 letters,
/// however long the list is.
pub const PAGE_ROWS: i64 = 500;

/// The most orders in a page of a customer's orders. Each of them has at most as many items
/// as fit into the body of a request, so a page has less than 10 MB.
pub const ORDERS_OF_PAGE: i64 = 50;

/// The query string of a list: `after=40&limit=20`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The last id that the client has. Without it, the first page is meant.
    #[param(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    pub after: Option<i64>,
    /// How many rows the client wants at most, from 1 to 100; 20 without it.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<i64>,
}

/// The page that a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The page has only ids greater than this.
    pub after: i64,
    /// The page has at most this many rows, from 1 to 100.
    pub limit: i64,
}

impl PageQuery {
    /// Returns the page.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if the limit is not from 1 to 100.
    pub fn page(&self) -> Result<Page, Error> {
        let limit = self.limit.unwrap_or(20);
        if !(1..=100).contains(&limit) {
            return Err(Error::BadRequest("the limit must be from 1 to 100"));
        }
        // No id is smaller, so the first page starts with the first row.
        let after = self.after.unwrap_or(i64::MIN);
        Ok(Page { after, limit })
    }
}

/// Some rows of a list, written as JSON by the database.
#[derive(Debug)]
pub struct TextPage<K> {
    /// The JSON of the rows, with the separator of the list between two; empty if there is
    /// no row.
    pub json: String,
    /// The key of the last row, after which the next page starts. `None` if this page is
    /// the end of the list.
    pub next: Option<K>,
}

impl<K> TextPage<K> {
    /// Creates a page of `rows` rows, the last of which has the key `last`. A page with fewer
    /// rows than `limit` is the end of its list.
    pub fn new(json: String, rows: i64, limit: i64, last: K) -> Self {
        let next = (rows == limit).then_some(last);
        Self { json, next }
    }
}

/// Returns a stream of the pages that `load` returns, one after another; the first starts
/// after `first`. A page that has no rows is left out. The stream holds a connection to the
/// database only while it loads a page, never while the caller handles it.
///
/// Each page sees the database at the time it is read. If a row is added or removed between
/// two pages, the stream may or may not include it. It never yields a row twice, because the
/// key only grows.
///
/// # Errors
/// The stream yields the error of `load`.
pub fn pages<K, F>(first: K, load: impl Fn(K) -> F + Send + 'static) -> Rows<String>
where
    K: Send + 'static,
    F: Future<Output = Result<TextPage<K>, Error>> + Send + 'static,
{
    Box::pin(try_stream! {
        let mut next = Some(first);
        while let Some(after) = next {
            let page = load(after).await?;
            if !page.json.is_empty() {
                yield page.json;
            }
            next = page.next;
        }
    })
}
