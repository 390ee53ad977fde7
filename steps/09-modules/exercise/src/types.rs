//! The values that the database, the service and its clients exchange.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize, Serializer};
use sqlx::FromRow;

use crate::error::Error;

/// An amount of money in cents: `Money(1050)` is 10.50.
///
/// The amount is an integer, because sums of integers are exact. Clients
/// receive a JSON number in the main unit: `10.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Money(pub i64);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // This is exact up to 2^52 cents: the division by 100 returns the
        // nearest `f64`, and the JSON writer prints the shortest text that
        // reads back as the same `f64`.
        #[expect(clippy::cast_precision_loss)]
        serializer.serialize_f64(self.0 as f64 / 100.0)
    }
}

/// A point in time in UTC. The text has the database's format,
/// `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UtcTime(String);

impl UtcTime {
    /// Returns the text, to bind it to an SQL statement.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    /// Parses `YYYY-MM-DD HH:MM:SS`, or `YYYY-MM-DD` for the first second of
    /// that day.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (time, form) = match DateTime::strptime("%Y-%m-%d %H:%M:%S", text) {
            Ok(time) => (time, "%Y-%m-%d %H:%M:%S"),
            Err(_) => match Date::strptime("%Y-%m-%d", text) {
                Ok(date) => (date.at(0, 0, 0, 0), "%Y-%m-%d"),
                Err(_) => return Err(MALFORMED_TIME),
            },
        };
        // `strptime` also accepts `2024-3-1` and years before 0. SQL compares
        // times as text, and these would sort in the wrong order.
        if time.year() < 0 || time.strftime(form).to_string() != text {
            return Err(MALFORMED_TIME);
        }
        Ok(Self(time.strftime("%Y-%m-%d %H:%M:%S").to_string()))
    }
}

/// Used by `#[sqlx(try_from = "String")]`: reading a row fails if the text in
/// the database is not a valid time.
impl TryFrom<String> for UtcTime {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

const MALFORMED_TIME: Error =
    Error::BadRequest("a time must have the form YYYY-MM-DD HH:MM:SS or YYYY-MM-DD");

/// The address of a customer.
#[derive(Debug, FromRow, Serialize)]
pub struct Address {
    pub flat_number: i64,
    pub post_code: i64,
}

/// A customer, as `GET /api/customers` returns it.
#[derive(Debug, FromRow, Serialize)]
pub struct Customer {
    pub id: i64,
    pub name: String,
    #[sqlx(flatten)]
    pub address: Address,
}

/// An item of the market, with the columns that an order shows.
#[derive(Debug, FromRow)]
pub struct Item {
    pub name: String,
    /// The price of one piece.
    #[sqlx(rename = "price_cents")]
    pub price: Money,
}

/// An order line: an item and how many pieces of it are ordered.
#[derive(Debug, FromRow)]
pub struct OrderItem {
    #[sqlx(flatten)]
    pub item: Item,
    pub quantity: i64,
}

impl OrderItem {
    /// Returns the cost of all pieces of this line. `item_total!` in
    /// `db_accessor.rs` is the same in SQL; the two must agree to the cent.
    pub fn item_total(&self) -> Money {
        Money(self.item.price.0 * self.quantity)
    }
}

/// Writes `{"name":"Bread","price":10.5,"quantity":2,"total":21.0}`. The
/// implementation is written by hand because the total is not a field: it is
/// calculated.
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

/// The customer of an order, as the order shows it.
#[derive(Debug, FromRow, Serialize)]
pub struct OrderCustomer {
    /// The column is not called `name`, because a row with an item has that
    /// column too.
    #[sqlx(rename = "customer")]
    pub name: String,
}

/// An order with its customer and its items, as `GET /api/orders/{cust_id}`
/// returns it.
#[derive(Debug, FromRow, Serialize)]
pub struct Order {
    pub order_id: i64,
    #[sqlx(flatten)]
    pub customer: OrderCustomer,
    #[sqlx(try_from = "String")]
    pub order_time: UtcTime,
    /// A row cannot hold a list. So the list starts empty, and the function
    /// that loads the order fills it.
    #[sqlx(skip)]
    pub items: Vec<OrderItem>,
}

impl Order {
    /// Returns the cost of all items. It is `None` for an order without items,
    /// just as `SUM` over no rows is `NULL`.
    pub fn total(&self) -> Option<Money> {
        self.items
            .iter()
            .map(OrderItem::item_total)
            .reduce(|sum, total| Money(sum.0 + total.0))
    }
}

/// One item of an order together with the customer's name, as
/// `GET /api/orders_between_dates/{before}/{after}` returns it.
#[derive(Debug, Serialize)]
pub struct OrderedItemOfCustomer {
    pub customer: String,
    pub name: String,
    pub price: Money,
    pub total: Money,
}

/// The query string of `GET /api/orders_total`: `orders=1,2,3`.
#[derive(Debug, Deserialize)]
pub struct OrdersQuery {
    pub orders: Option<String>,
}

/// The JSON body of `GET /api/orders_total`: `{"orders":[1,2,3]}`.
#[derive(Debug, Deserialize)]
pub struct OrdersBody {
    pub orders: Vec<i64>,
}

/// The JSON body of `POST /api/add_new_order`.
#[derive(Debug, Deserialize)]
pub struct NewOrder {
    pub customer_id: i64,
    pub items: Vec<NewOrderItem>,
}

/// The id of an item and how many pieces of it are ordered.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct NewOrderItem {
    pub id: i64,
    pub quantity: i64,
}
