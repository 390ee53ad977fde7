//! What a market is made of. Each type is checked where it is made, so that
//! the rest of the program never meets a negative quantity or half a date.

mod id;
mod money;
mod new_order;
mod quantity;
mod time;

pub use id::{CustomerId, ItemId, OrderId};
pub use money::Money;
pub use new_order::{FieldError, MAX_LINES, NewOrder, OrderLine};
pub use quantity::Quantity;
pub use time::UtcTime;

/// A value that is outside its type's range; the text says what is allowed,
/// as in "must be a whole number from 1 to 1000000".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct Invalid(pub &'static str);
