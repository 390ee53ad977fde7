//! The rows of customers, as they are read and as clients receive them.

use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

/// The address of a customer.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct Address {
    pub flat_number: i64,
    pub post_code: i64,
}

/// A customer, as `GET /api/customers` returns it.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub struct Customer {
    pub id: i64,
    pub name: String,
    #[sqlx(flatten)]
    pub address: Address,
}
