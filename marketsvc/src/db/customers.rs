//! Queries about customers.

use sqlx::Row;

use super::Db;
use crate::domain::CustomerId;
use crate::{Error, trace};

/// Some customers in the order of their ids.
#[derive(Debug)]
pub struct CustomerPage {
    /// One JSON object for each customer, with the separator between them:
    /// `{"id":1,"name":"Alex","address":{"flat_number":101,"post_code":10001}}`.
    pub rows: String,
    /// The id of the last one: where the next page goes on.
    pub last: i64,
    /// Whether the page is as long as asked for, so that more may follow.
    pub full: bool,
}

/// SQLite writes the JSON itself and hands over one long text. A million rows
/// one by one cost 1.3 s here, since each crosses from SQLite's thread into
/// this program on its own; in pages of 1,000 they cost 0.4 s.
///
/// The rows are concatenated in the order in which the inner query delivers
/// them, and its LIMIT makes SQLite keep that order.
const PAGE: &str = "
    SELECT count(*), max(id), group_concat(customer, $1)
    FROM (
        SELECT customer.id AS id,
               json_object(
                   'id', customer.id,
                   'name', customer.name,
                   'address', json_object(
                       'flat_number', address.flat_number,
                       'post_code', address.post_code
                   )
               ) AS customer
        FROM customer
        JOIN address ON address.id = customer.address_id
        WHERE customer.id >= $2
        ORDER BY customer.id
        LIMIT +$3
    )";

/// At most `limit` customers whose ids are `from` or above, or `None` when there
/// are none. One statement, so one moment of the database; the connection is
/// free again when this returns.
///
/// # Errors
///
/// [`Error::Busy`] when no connection comes free in time, else
/// [`Error::Database`].
pub async fn page(
    db: &Db,
    from: i64,
    limit: u32,
    separator: &'static str,
) -> Result<Option<CustomerPage>, Error> {
    trace::statement();
    let row = sqlx::query(PAGE)
        .bind(separator)
        .bind(from)
        .bind(limit)
        .fetch_one(&db.readers)
        .await?;
    let count: u32 = row.try_get(0)?;
    if count == 0 {
        return Ok(None);
    }
    Ok(Some(CustomerPage {
        rows: row.try_get(2)?,
        last: row.try_get(1)?,
        full: count == limit,
    }))
}

/// The customer's name, or `None` when there is no such customer.
///
/// # Errors
///
/// As [`page`].
pub async fn name(db: &Db, id: CustomerId) -> Result<Option<String>, Error> {
    trace::statement();
    Ok(
        sqlx::query_scalar!("SELECT name FROM customer WHERE id = $1", id.get())
            .fetch_optional(&db.readers)
            .await?,
    )
}
