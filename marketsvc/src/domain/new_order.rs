//! An order that a customer wants to place.

use std::collections::HashSet;

use serde::Serialize;

use super::{CustomerId, ItemId, Quantity};

/// The most lines that one order may have. A new order is written in one
/// transaction, and while it is written no other can be.
pub const MAX_LINES: usize = 1_000;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it is, such as `items[1].quantity`.
    pub field: String,
    /// What is wrong with it, in a few words that follow the field's name.
    pub detail: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

/// So many of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderLine {
    pub item: ItemId,
    pub quantity: Quantity,
}

/// An order before it has a number: at least one line, at most
/// [`MAX_LINES`], no item twice. Whether its customer and its items exist is
/// for the database to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    customer: CustomerId,
    lines: Vec<OrderLine>,
}

impl NewOrder {
    /// Takes the lines in the order in which the customer named them.
    ///
    /// # Errors
    ///
    /// One entry for each line that repeats an item, or a single one when
    /// there are no lines or too many.
    pub fn new(customer: CustomerId, lines: Vec<OrderLine>) -> Result<Self, Vec<FieldError>> {
        if lines.is_empty() {
            return Err(vec![FieldError::new(
                "items",
                "must have at least one item",
            )]);
        }
        if lines.len() > MAX_LINES {
            let detail = format!("must have at most {MAX_LINES} items");
            return Err(vec![FieldError::new("items", detail)]);
        }
        let mut seen = HashSet::with_capacity(lines.len());
        let repeated: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !seen.insert(line.item))
            .map(|(i, line)| {
                let detail = format!("names item {} a second time", line.item);
                FieldError::new(format!("items[{i}].id"), detail)
            })
            .collect();
        if repeated.is_empty() {
            Ok(Self { customer, lines })
        } else {
            Err(repeated)
        }
    }

    pub fn customer(&self) -> CustomerId {
        self.customer
    }

    /// At least one line, in the customer's order.
    pub fn lines(&self) -> &[OrderLine] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(items: impl IntoIterator<Item = i64>) -> Vec<OrderLine> {
        items
            .into_iter()
            .map(|item| OrderLine {
                item: ItemId::try_from(item).unwrap(),
                quantity: Quantity::try_from(1).unwrap(),
            })
            .collect()
    }

    fn order(items: impl IntoIterator<Item = i64>) -> Result<NewOrder, Vec<String>> {
        NewOrder::new(CustomerId::try_from(1).unwrap(), lines(items))
            .map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn keeps_the_order_of_its_lines() {
        assert_eq!(order([3, 1, 2]).unwrap().lines(), lines([3, 1, 2]));
    }

    #[test]
    fn has_lines_but_not_too_many() {
        let most = i64::try_from(MAX_LINES).unwrap();
        assert_eq!(order([]), Err(vec!["items".to_owned()]));
        assert!(order(1..=most).is_ok());
        assert_eq!(order(1..=most + 1), Err(vec!["items".to_owned()]));
    }

    #[test]
    fn names_each_line_that_repeats_an_item() {
        assert_eq!(
            order([2, 4, 2, 4, 5]),
            Err(vec!["items[2].id".to_owned(), "items[3].id".to_owned()])
        );
    }
}
