//! The values that travel between the database, the service and its clients.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize, Serializer};
use sqlx::FromRow;

use crate::error::Error;

/// An amount of money, in cents: 1050 is 10.50.
///
/// A whole number, since sums of whole numbers are exact. Clients see a JSON
/// number in the main unit: `10.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Money(pub i64);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact up to 2^52 cents: dividing by 100 gives the nearest `f64`, and
        // the JSON writer prints the shortest text that reads back as it.
        #[expect(clippy::cast_precision_loss)]
        serializer.serialize_f64(self.0 as f64 / 100.0)
    }
}

/// A moment in UTC, in the database's form `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UtcTime(String);

impl UtcTime {
    /// The text for SQL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    /// Reads `YYYY-MM-DD HH:MM:SS`, or `YYYY-MM-DD` for the day's first second.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (time, form) = match DateTime::strptime("%Y-%m-%d %H:%M:%S", text) {
            Ok(time) => (time, "%Y-%m-%d %H:%M:%S"),
            Err(_) => match Date::strptime("%Y-%m-%d", text) {
                Ok(date) => (date.at(0, 0, 0, 0), "%Y-%m-%d"),
                Err(_) => return Err(MALFORMED_TIME),
            },
        };
        // `strptime` also takes `2024-3-1` and years before 0. As text they would
        // sort wrongly.
        if time.year() < 0 || time.strftime(form).to_string() != text {
            return Err(MALFORMED_TIME);
        }
        Ok(Self(time.strftime("%Y-%m-%d %H:%M:%S").to_string()))
    }
}

/// For `#[sqlx(try_from = "String")]`: a time in the database that is none is an
/// error when its row is read.
impl TryFrom<String> for UtcTime {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

const MALFORMED_TIME: Error =
    Error::BadRequest("a time must have the form YYYY-MM-DD HH:MM:SS or YYYY-MM-DD");

/// Where a customer lives.
#[derive(Debug, FromRow, Serialize)]
pub struct Address {
    pub flat_number: i64,
    pub post_code: i64,
}

/// A customer, as `GET /api/customers` shows it.
#[derive(Debug, FromRow, Serialize)]
pub struct Customer {
    pub id: i64,
    pub name: String,
    // TODO(08.1): replace the id by the address, read from the same row
    pub address_id: i64,
    // END TODO(08.1)
}

/// An item of the market, as far as an order shows it.
#[derive(Debug, FromRow)]
pub struct Item {
    pub name: String,
    /// For one piece.
    #[sqlx(rename = "price_cents")]
    pub price: Money,
}

/// A line of an order: an item and how many of it.
#[derive(Debug, FromRow)]
pub struct OrderItem {
    #[sqlx(flatten)]
    pub item: Item,
    pub quantity: i64,
}

impl OrderItem {
    /// What all pieces of the line cost. The same in SQL is `item_total!` in
    /// `db_accessor.rs`; both must agree to the cent.
    pub fn item_total(&self) -> Money {
        // TODO(08.3): return the price of all pieces, in whole cents
        self.item.price
        // END TODO(08.3)
    }
}

/// `{"name":"Bread","price":10.5,"quantity":2,"total":21.0}`: a client wants the
/// total too, which is no field but worked out.
impl Serialize for OrderItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OrderItemJson<'a> {
            name: &'a str,
            price: Money,
            quantity: i64,
            total: Money,
        }
        let json = OrderItemJson {
            name: &self.item.name,
            price: self.item.price,
            quantity: self.quantity,
            total: self.item_total(),
        };
        json.serialize(serializer)
    }
}

/// Who has ordered, as an order shows it.
#[derive(Debug, FromRow, Serialize)]
pub struct OrderCustomer {
    /// Items have a column `name` too, and a row can have both.
    #[sqlx(rename = "customer")]
    pub name: String,
}

/// An order with its customer and its items, as `GET /api/orders/{cust_id}`
/// shows it.
#[derive(Debug, FromRow, Serialize)]
pub struct Order {
    pub order_id: i64,
    #[sqlx(flatten)]
    pub customer: OrderCustomer,
    #[sqlx(try_from = "String")]
    pub order_time: UtcTime,
    /// A row has no place for many: the list is empty until somebody fills it.
    #[sqlx(skip)]
    pub items: Vec<OrderItem>,
}

impl Order {
    /// What the items cost together. `None` for an order without items, as
    /// `SUM` over no rows is `NULL`.
    pub fn total(&self) -> Option<Money> {
        self.items
            .iter()
            .map(OrderItem::item_total)
            .reduce(|sum, total| Money(sum.0 + total.0))
    }
}

/// One item of an order and who ordered it, as
/// `GET /api/orders_between_dates/{before}/{after}` shows it.
#[derive(Debug, Serialize)]
pub struct OrderedItemOfCustomer {
    pub customer: String,
    pub name: String,
    pub price: Money,
    pub total: Money,
}

/// What `GET /api/orders_total` takes after the `?`: `orders=1,2,3`.
#[derive(Debug, Deserialize)]
pub struct OrdersQuery {
    pub orders: Option<String>,
}

/// What `GET /api/orders_total` takes as a body: `{"orders":[1,2,3]}`.
#[derive(Debug, Deserialize)]
pub struct OrdersBody {
    pub orders: Vec<i64>,
}

/// What `POST /api/add_new_order` takes.
#[derive(Debug, Deserialize)]
pub struct NewOrder {
    pub customer_id: i64,
    pub items: Vec<NewOrderItem>,
}

/// An item and how many of it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct NewOrderItem {
    pub id: i64,
    pub quantity: i64,
}
