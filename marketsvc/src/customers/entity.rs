//! Customers, as clients receive them. The database writes their JSON; these types describe
//! it.

use utoipa::ToSchema;

/// The address of a customer.
#[derive(Debug, ToSchema)]
pub struct Address {
    pub flat_number: i64,
    pub post_code: i64,
}

/// A customer, as `GET /api/customers` returns it.
#[derive(Debug, ToSchema)]
pub struct Customer {
    pub id: i64,
    pub name: String,
    pub address: Address,
}
