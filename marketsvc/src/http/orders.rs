//! `/api/orders…`, `/api/order_total…` and `/api/add_new_order`.

use async_stream::try_stream;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extract::{JsonBody, PathPair, PathValue};
use super::stream::{Format, respond};
use super::{AppState, PathAndHandlers};
use crate::Error;
use crate::db::customers;
use crate::db::orders::{self, After, Line};
use crate::db::totals::OrderTotal;
use crate::domain::{
    CustomerId, FieldError, Invalid, ItemId, Money, NewOrder, OrderId, OrderLine, Quantity, UtcTime,
};

/// The most orders that one request may ask the totals of.
const MAX_TOTALS: usize = 1_000;

pub(super) fn routes() -> [PathAndHandlers; 5] {
    [
        ("/api/orders/{customer}", |guard| {
            get(guard.around(of_customer))
        }),
        ("/api/orders_between_dates/{before}/{after}", |guard| {
            get(guard.around(between_dates))
        }),
        ("/api/order_total/{order}", |guard| get(guard.around(total))),
        ("/api/orders_total", |guard| get(guard.around(totals))),
        ("/api/add_new_order", |guard| post(guard.around(add))),
    ]
}

/// An order with its items.
#[derive(Serialize)]
struct WireOrder<'a> {
    order_id: i64,
    customer: WireCustomer<'a>,
    order_time: UtcTime,
    /// Last, and empty: [`OrdersText`] opens the list again to put the items
    /// in as they come.
    items: [(); 0],
}

#[derive(Serialize)]
struct WireCustomer<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct WireItem<'a> {
    name: &'a str,
    /// For one piece.
    price: Money,
    quantity: i64,
    total: Money,
}

/// `GET /api/orders/{customer}`: the customer's orders by number, streamed.
///
/// `[{"order_id":1,"customer":{"name":"Alex"},"order_time":"2024-03-18 10:30:00",
/// "items":[{"name":"Kit Kat","price":1.0,"quantity":4,"total":4.0},…]},…]`;
/// `[]` for a customer without orders, 404 for an unknown customer.
async fn of_customer(
    State(state): State<AppState>,
    PathValue(customer): PathValue<CustomerId>,
    format: Format,
) -> Result<Response, Error> {
    respond(format, orders_of(state, customer, format)).await
}

fn orders_of(
    state: AppState,
    customer: CustomerId,
    format: Format,
) -> impl Stream<Item = Result<Bytes, Error>> {
    try_stream! {
        let mut text = OrdersText::new(format);
        let mut after = None;
        loop {
            let limit = state.limits.page_rows;
            let page = orders::page_of_customer(&state.db, customer, after, limit).await?;
            // A line is seldom so much longer than in the page. To grow by
            // doubling would take twice the memory.
            text.reserve(page.text_len() / 2 * 5);
            let mut count = 0;
            for line in page.lines() {
                let line = line?;
                text.push(&line);
                after = Some(line.after());
                count += 1;
            }
            // A slow reader keeps what was written, not also what it is from.
            drop(page);
            // Only then is there a doubt. Nothing was sent yet.
            if after.is_none() {
                must_exist(&state, customer).await?;
            }
            if count < limit {
                break;
            }
            yield text.take();
        }
        yield text.finish();
    }
}

async fn must_exist(state: &AppState, customer: CustomerId) -> Result<(), Error> {
    match customers::name(&state.db, customer).await? {
        Some(_) => Ok(()),
        None => Err(Error::NotFound(format!("there is no customer {customer}"))),
    }
}

/// Writes orders as their lines come in, which may be in pieces: an order can
/// begin on one page and end on another.
struct OrdersText {
    format: Format,
    /// What has not been sent yet.
    text: Vec<u8>,
    /// The order whose list of items is open.
    open: Option<i64>,
    /// Whether that list has an item.
    has_items: bool,
}

impl OrdersText {
    fn new(format: Format) -> Self {
        Self {
            format,
            text: Vec::new(),
            open: None,
            has_items: false,
        }
    }

    fn push(&mut self, line: &Line<'_>) {
        if self.open != Some(line.order_id) {
            match (self.open.is_some(), self.format) {
                (false, Format::Array) => self.text.push(b'['),
                (false, Format::Lines) => {}
                (true, format) => {
                    self.text.extend_from_slice(b"]}");
                    self.text.extend_from_slice(format.separator().as_bytes());
                }
            }
            write_json(
                &mut self.text,
                &WireOrder {
                    order_id: line.order_id,
                    customer: WireCustomer {
                        name: &line.customer,
                    },
                    order_time: line.order_time,
                    items: [],
                },
            );
            // Without the `]}` of the empty list.
            self.text.truncate(self.text.len() - 2);
            self.open = Some(line.order_id);
            self.has_items = false;
        }
        if let Some(item) = &line.item {
            if self.has_items {
                self.text.push(b',');
            }
            self.has_items = true;
            write_json(
                &mut self.text,
                &WireItem {
                    name: &item.name,
                    price: item.price,
                    quantity: item.quantity,
                    total: item.total,
                },
            );
        }
    }

    /// What was written since the last call.
    fn take(&mut self) -> Bytes {
        let mut text = std::mem::take(&mut self.text);
        text.shrink_to_fit();
        text.into()
    }

    /// Makes room for `bytes` more.
    fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// The rest, with everything closed.
    fn finish(mut self) -> Bytes {
        if self.open.is_some() {
            self.text.extend_from_slice(b"]}");
        }
        match self.format {
            Format::Array if self.open.is_none() => self.text.extend_from_slice(b"[]"),
            Format::Array => self.text.push(b']'),
            Format::Lines if self.open.is_none() => {}
            Format::Lines => self.text.push(b'\n'),
        }
        self.text.into()
    }
}

/// A line of the list of orders between two dates.
#[derive(Serialize)]
struct WireLine<'a> {
    customer: &'a str,
    name: &'a str,
    /// For one piece.
    price: Money,
    total: Money,
}

/// `GET /api/orders_between_dates/{before}/{after}`: the lines of all orders
/// from `after` to `before`, both included, streamed. The later date comes
/// first in the path, as it always has; the other way round is an empty list.
///
/// `[{"customer":"Alex","name":"Kit Kat","price":1.0,"total":4.0},…]`, by time
/// of the order, then its number, then as the customer placed it.
async fn between_dates(
    State(state): State<AppState>,
    PathPair(before, after): PathPair<UtcTime>,
    format: Format,
) -> Result<Response, Error> {
    respond(format, lines_between(state, after, before, format)).await
}

fn lines_between(
    state: AppState,
    first: UtcTime,
    last: UtcTime,
    format: Format,
) -> impl Stream<Item = Result<Bytes, Error>> {
    try_stream! {
        let mut empty = true;
        let mut after = After::start_of(first);
        loop {
            let limit = state.limits.page_rows;
            let page = orders::page_between(&state.db, after, last, limit).await?;
            // About as long as the text that they come from.
            let mut rows = Vec::with_capacity(page.text_len());
            let mut count = 0;
            for line in page.lines() {
                let line = line?;
                after = line.after();
                count += 1;
                let Some(item) = &line.item else { continue };
                if !rows.is_empty() {
                    rows.extend_from_slice(format.separator().as_bytes());
                }
                write_json(
                    &mut rows,
                    &WireLine {
                        customer: &line.customer,
                        name: &item.name,
                        price: item.price,
                        total: item.total,
                    },
                );
            }
            let is_last = count < limit;
            drop(page);
            if !rows.is_empty() {
                yield format.page(empty, is_last, rows);
                empty = false;
            } else if is_last {
                yield format.end(empty);
            }
            if is_last {
                break;
            }
        }
    }
}

/// Appends `value` as JSON.
fn write_json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value)
        .expect("writing to memory succeeds, and the wire types have no keys but strings");
}

#[derive(Serialize)]
struct WireTotal {
    #[serde(rename = "Order Total")]
    total: Option<Money>,
}

/// `GET /api/order_total/{order}`: `{"Order Total":30.0}`; `null` instead of a
/// number for an order without items, 404 for an unknown order.
async fn total(
    State(state): State<AppState>,
    PathValue(order): PathValue<OrderId>,
) -> Result<Json<WireTotal>, Error> {
    match orders::total(&state.db, order).await? {
        OrderTotal::Unknown => Err(Error::NotFound(format!("there is no order {order}"))),
        known => Ok(Json(WireTotal {
            total: amount(known),
        })),
    }
}

fn amount(total: OrderTotal) -> Option<Money> {
    match total {
        OrderTotal::Of(money) => Some(money),
        OrderTotal::Unknown | OrderTotal::Empty => None,
    }
}

#[derive(Deserialize)]
struct TotalsQuery {
    orders: Option<String>,
}

/// `GET /api/orders_total?orders=1,2,3`, or the same ids as a JSON body
/// `{"orders":[1,2,3]}`: `[30.0,12.0,null]`, in the order asked for, `null`
/// where an order is unknown or empty. At most 1,000 ids.
async fn totals(
    State(state): State<AppState>,
    query: Result<Query<TotalsQuery>, axum::extract::rejection::QueryRejection>,
    JsonBody(body): JsonBody,
) -> Result<Json<Vec<Option<Money>>>, Error> {
    let Query(query) = query.map_err(|_| {
        Error::BadRequest("the query must have `orders` once, as in ?orders=1,2,3".to_owned())
    })?;
    let ids = match (query.orders, body) {
        (Some(list), None) => ids_in_query(&list)?,
        (None, Some(body)) => ids_in_body(&body)?,
        (None, None) => {
            return Err(Error::BadRequest(
                "name the orders, as in ?orders=1,2,3 or with a JSON body {\"orders\":[1,2,3]}"
                    .to_owned(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Error::BadRequest(
                "name the orders in the query or in the body, not in both".to_owned(),
            ));
        }
    };
    let totals = orders::totals(&state.db, &ids).await?;
    Ok(Json(totals.into_iter().map(amount).collect()))
}

fn ids_in_query(list: &str) -> Result<Vec<OrderId>, Error> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    // Counted before they are read, so that a long list costs nothing.
    if list.split(',').count() > MAX_TOTALS {
        return Err(too_many_totals());
    }
    list.split(',')
        .enumerate()
        .map(|(i, text)| text.parse().map_err(|error| bad_order(i, error)))
        .collect()
}

fn ids_in_body(body: &Value) -> Result<Vec<OrderId>, Error> {
    let Some(list) = body.get("orders").and_then(Value::as_array) else {
        return Err(Error::BadRequest(
            "the body must be an object with a list `orders`, as in {\"orders\":[1,2,3]}"
                .to_owned(),
        ));
    };
    if list.len() > MAX_TOTALS {
        return Err(too_many_totals());
    }
    list.iter()
        .enumerate()
        // 0 stands for whatever is not a whole number; both are refused alike.
        .map(|(i, value)| {
            OrderId::try_from(value.as_i64().unwrap_or(0)).map_err(|error| bad_order(i, error))
        })
        .collect()
}

fn bad_order(place: usize, error: Invalid) -> Error {
    Error::BadRequest(format!("orders[{place}] {error}"))
}

fn too_many_totals() -> Error {
    Error::BadRequest(format!(
        "at most {MAX_TOTALS} orders can be asked for at once"
    ))
}

/// `POST /api/add_new_order` with
/// `{"customer_id":1,"items":[{"id":2,"quantity":4},{"id":3,"quantity":6}]}`:
/// stores the order, with the time now, and answers 201 with
/// `{"order_id":4}` and where its total is found.
///
/// 422 names every field that it refuses; nothing is stored then.
async fn add(State(state): State<AppState>, JsonBody(body): JsonBody) -> Result<Response, Error> {
    let body = body.ok_or_else(|| Error::BadRequest("the body is empty".to_owned()))?;
    let order = new_order(&body).map_err(Error::Refused)?;
    let id = orders::add(&state.db, order, UtcTime::now()).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/api/order_total/{id}"))],
        Json(json!({ "order_id": id })),
    )
        .into_response())
}

/// Reads an order field by field rather than through a derived reader, which
/// would stop at the first mistake and describe it in terms of Rust.
fn new_order(body: &Value) -> Result<NewOrder, Vec<FieldError>> {
    let mut errors = Vec::new();
    let customer = number::<CustomerId>(body, "customer_id", "customer_id", &mut errors);
    let mut lines = Vec::new();
    match body.get("items") {
        Some(Value::Array(items)) => {
            // One more than allowed is enough to be refused for the number.
            for (i, item) in items.iter().take(crate::domain::MAX_LINES + 1).enumerate() {
                let id = number::<ItemId>(item, "id", &format!("items[{i}].id"), &mut errors);
                let quantity = number::<Quantity>(
                    item,
                    "quantity",
                    &format!("items[{i}].quantity"),
                    &mut errors,
                );
                if let (Some(item), Some(quantity)) = (id, quantity) {
                    lines.push(OrderLine { item, quantity });
                }
            }
        }
        Some(_) => errors.push(FieldError::new("items", "must be a list")),
        None => errors.push(FieldError::new("items", "is missing")),
    }
    match customer {
        Some(customer) if errors.is_empty() => NewOrder::new(customer, lines),
        _ => Err(errors),
    }
}

/// The whole number under `name` in `object`; `None` after adding to `errors`
/// why it is not one, under the name `field`.
fn number<T: TryFrom<i64, Error = Invalid>>(
    object: &Value,
    name: &str,
    field: &str,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    let Some(value) = object.get(name) else {
        errors.push(FieldError::new(field, "is missing"));
        return None;
    };
    // 0 stands for whatever is not a whole number; both are refused alike.
    match T::try_from(value.as_i64().unwrap_or(0)) {
        Ok(value) => Some(value),
        Err(error) => {
            errors.push(FieldError::new(field, error.to_string()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &Value) -> Vec<String> {
        let errors = new_order(body).unwrap_err();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn an_order_is_read() {
        let order =
            new_order(&json!({"customer_id": 2, "items": [{"id": 3, "quantity": 6}]})).unwrap();
        assert_eq!(order.customer().get(), 2);
        assert_eq!(order.lines().len(), 1);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let cases = [
            (json!({}), vec!["customer_id", "items"]),
            (json!([1, [[2, 4]]]), vec!["customer_id", "items"]),
            (json!("order"), vec!["customer_id", "items"]),
            (json!({"customer_id": 1, "items": []}), vec!["items"]),
            (json!({"customer_id": 1, "items": {}}), vec!["items"]),
            (
                json!({"customer_id": 0, "items": null}),
                vec!["customer_id", "items"],
            ),
            (
                json!({"customer_id": 1.5, "items": [
                    {"id": "2", "quantity": 0}, {"id": 2, "quantity": 1}, {"quantity": -4}, 7,
                ]}),
                vec![
                    "customer_id",
                    "items[0].id",
                    "items[0].quantity",
                    "items[2].id",
                    "items[2].quantity",
                    "items[3].id",
                    "items[3].quantity",
                ],
            ),
            (
                json!({"customer_id": 1, "items": [{"id": 2, "quantity": 1}, {"id": 2, "quantity": 1}]}),
                vec!["items[1].id"],
            ),
            (
                json!({"customer_id": 9_223_372_036_854_775_808_u64, "items": [{"id": 1e300, "quantity": 1_000_001}]}),
                vec!["customer_id", "items[0].id", "items[0].quantity"],
            ),
        ];
        for (body, fields) in cases {
            assert_eq!(refused(&body), fields, "{body}");
        }
    }

    #[test]
    fn too_many_items_are_one_mistake() {
        let items = vec![json!({"id": 1, "quantity": 1}); 1_001];
        assert_eq!(
            refused(&json!({"customer_id": 1, "items": items})),
            ["items"]
        );
    }
}
