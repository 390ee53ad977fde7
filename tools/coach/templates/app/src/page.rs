//! Long lists in pages (*keyset pagination*): a page starts after the last id of the page
//! before.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::Error;

/// The query string of a list: `after=40&limit=20`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The last id that the client has. Without it, the first page is meant.
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
            return Err(Error::BadRequest("the limit must be from 1 to 100".into()));
        }
        // No id is smaller, so the first page starts with the first row.
        let after = self.after.unwrap_or(i64::MIN);
        Ok(Page { after, limit })
    }
}
