//! What clients send about orders, and the short answers that they get.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::headers::Position;
use crate::docs::Id;
use crate::types::{Money, objects};

/// The query string of `GET /api/orders_total`: `orders=1,2,3`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrdersQuery {
    /// From 1 to 1000 ids, with commas between them.
    #[param(
        required = true, value_type = Vec<i64>, style = Form, explode = false,
        min_items = 1, max_items = 1_000, example = json!([1, 2, 3])
    )]
    pub orders: Option<String>,
}

/// The JSON body of `GET /api/orders_total`: `{"orders":[1,2,3]}`.
#[derive(Debug, Deserialize)]
pub struct OrdersBody {
    pub orders: Vec<i64>,
}

/// The JSON body of `POST /api/add_new_order`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": 1, "items": [{ "id": 2, "quantity": 4 }, { "id": 3, "quantity": 6 }]
}))]
pub struct NewOrder {
    #[schema(value_type = Id)]
    pub customer_id: i64,
    /// Each item once.
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1)]
    pub items: Vec<NewOrderItem>,
}

/// The id of an item and how many pieces of it are ordered.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct NewOrderItem {
    #[schema(value_type = Id)]
    pub id: i64,
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub quantity: i64,
}

/// A new order, and the key by which its client may send it again.
#[derive(Clone, Debug, Serialize)]
pub struct KeyedOrder {
    #[serde(flatten)]
    pub order: NewOrder,
    pub key: Option<String>,
}

/// An order that is stored.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The order's id: that of the first one, if the same order was placed twice.
    pub id: i64,
    /// Where the database was when it had stored the order; `None` if it has no standbys, or
    /// if the primary did not say so after the commit.
    pub position: Option<Position>,
}

/// The answer of `GET /api/order_total/{order_id}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "Order Total": 30.0 }))]
pub struct OrderTotal {
    #[serde(rename = "Order Total")]
    pub total: Option<Money>,
}

/// The answer of `POST /api/add_new_order`.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredOrder {
    pub order_id: i64,
}
