//! The contract that the steps and this service share.

use check::Outcome;

use crate::common::Market;

/// A test for each question of the contract, over a market of its own.
macro_rules! agreed {
    ($($name:ident($($argument:ident),*);)*) => {
        $(
            #[tokio::test]
            async fn $name() -> Outcome {
                let market = Market::sample().await?;
                contract::$name($(&market.$argument),*).await
            }
        )*
    };
}

agreed! {
    welcome(service);
    customers_nested(service, database);
    customers_nested_ndjson(service, database);
    orders_of_customer_nested(service, database);
    orders_of_unknown_customer_404(service);
    order_total(service, database);
    order_total_404_when_unknown(service);
    orders_total(service, database);
    orders_between_dates(service, database);
    orders_between_dates_ndjson(service, database);
    new_order_stored(service, database);
    new_order_refusals(service, database);
    new_order_overflow_422(service, database);
    hostile_input(service, database);
}

#[tokio::test]
async fn format_by_accept() -> Outcome {
    let market = Market::sample().await?;
    for path in [
        "/api/customers",
        "/api/orders/1",
        "/api/orders_between_dates/2024-03-22/2024-03-17",
    ] {
        contract::format_by_accept(&market.service, path).await?;
    }
    Ok(())
}
