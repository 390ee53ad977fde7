//! Orders and their items, as clients receive them. The database writes their JSON; these
//! types describe it.

use utoipa::ToSchema;

use crate::types::{Money, UtcTime};

/// An order line.
#[derive(Debug, ToSchema)]
pub struct OrderItem {
    pub name: String,
    /// The price of one piece.
    pub price: Money,
    pub quantity: i64,
    /// What all pieces cost.
    pub total: Money,
}

/// The customer of an order, as the order shows it.
#[derive(Debug, ToSchema)]
pub struct OrderCustomer {
    pub name: String,
}

/// An order with its customer and its items, as `GET /api/orders/{cust_id}`
/// returns it.
#[derive(Debug, ToSchema)]
pub struct Order {
    pub order_id: i64,
    pub customer: OrderCustomer,
    pub order_time: UtcTime,
    pub items: Vec<OrderItem>,
}

/// One item of an order together with the customer's name, as
/// `GET /api/orders_between_dates/{before}/{after}` returns it.
#[derive(Debug, ToSchema)]
pub struct OrderedItemOfCustomer {
    pub customer: String,
    pub name: String,
    pub price: Money,
    pub total: Money,
}
