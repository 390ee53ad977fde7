//! What clients send about orders.

use serde::{Deserialize, Serialize};

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
