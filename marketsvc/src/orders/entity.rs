//! The rows of orders and their items, as they are read and as clients receive
//! them.

use serde::{Serialize, Serializer};
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::types::{Money, UtcTime};

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
    /// `service.rs` is the same in SQL; the two must agree to the cent.
    pub fn item_total(&self) -> Money {
        Money(self.item.price.0 * self.quantity)
    }
}

/// An order line, as clients receive it.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct OrderItemJson {
    name: String,
    price: Money,
    quantity: i64,
    /// What all pieces cost.
    total: Money,
}

/// Writes `{"name":"Bread","price":10.5,"quantity":2,"total":21.0}`. The
/// implementation is written by hand because the total is not a field: it is
/// calculated.
impl Serialize for OrderItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = OrderItemJson {
            name: self.item.name.clone(),
            price: self.item.price,
            quantity: self.quantity,
            total: self.item_total(),
        };
        json.serialize(serializer)
    }
}

/// The customer of an order, as the order shows it.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct OrderCustomer {
    // The column is not called `name`, because a row with an item has that
    // column too.
    #[sqlx(rename = "customer")]
    pub name: String,
}

/// An order with its customer and its items, as `GET /api/orders/{cust_id}`
/// returns it.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct Order {
    pub order_id: i64,
    #[sqlx(flatten)]
    pub customer: OrderCustomer,
    #[sqlx(try_from = "String")]
    pub order_time: UtcTime,
    // A row cannot hold a list. So the list starts empty, and the function
    // that loads the order fills it.
    #[sqlx(skip)]
    #[schema(value_type = Vec<OrderItemJson>)]
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
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderedItemOfCustomer {
    pub customer: String,
    pub name: String,
    pub price: Money,
    pub total: Money,
}
