//! Contenders have to answer alike before they are compared.

use serde_json::{Value, json};

use crate::contender::Contender;
use crate::error::Result;
use crate::http::Request;
use crate::server::Server;
use crate::{market, program};

/// Requests to which every program that serves a new database of at least 100
/// customers and 100 orders has the same answer.
fn requests() -> Vec<Request> {
    let order = |customer: i64, items: Value| {
        let order = json!({ "customer_id": customer, "items": items });
        Request::post("/api/add_new_order", &order)
    };
    let mut requests = vec![Request::get("/api/customers")];
    for id in (1..=100).step_by(7).chain([1_000_000_000]) {
        requests.push(Request::get(&format!("/api/orders/{id}")));
        requests.push(Request::get(&format!("/api/order_total/{id}")));
    }
    requests.extend([
        // 3 has no items, and one does not exist.
        Request::get("/api/orders_total?orders=3,1,2,1000000000,50,2,99"),
        order(
            1,
            json!([{"id": 2, "quantity": 4}, {"id": 1, "quantity": 6}]),
        ),
        Request::get("/api/orders/1"),
        // Refused, and nothing is left of them.
        order(1_000_000_000, json!([{"id": 1, "quantity": 1}])),
        order(
            2,
            json!([{"id": 1, "quantity": 1}, {"id": 1_000_000_000, "quantity": 1}]),
        ),
        order(2, json!([{"id": 1, "quantity": 0}])),
        order(
            2,
            json!([{"id": 1, "quantity": 1}, {"id": 1, "quantity": 1}]),
        ),
        order(2, json!([])),
        Request::get("/api/orders/2"),
    ]);
    requests
}

/// Starts one after the other over the same small market, and compares their answers with
/// those of the first.
///
/// # Errors
///
/// As [`same`].
pub fn agree(contenders: &[Contender]) -> Result<()> {
    let folder = program::temporary_folder()?;
    same(contenders, |contender| {
        let database = folder.path().join(contender.name());
        market::seed(&database, 2_500, 1_000)?;
        Server::start(contender, &database)
    })
}

/// Starts one after the other with `start`, each over a market of its own, and compares
/// their answers with those of the first.
///
/// # Errors
///
/// The first answer that is not the same, and when one does not start.
pub fn same(
    contenders: &[Contender],
    mut start: impl FnMut(Contender) -> Result<Server>,
) -> Result<()> {
    eprintln!("comparing answers");
    let mut model = None;
    for contender in contenders {
        let mut server = start(*contender)?;
        match &model {
            None => model = Some(server.answers(requests())?),
            Some(model) => server.ask(model)?,
        }
    }
    Ok(())
}

/// The first place where two values differ, as a JSON pointer, and both there; numbers
/// are compared by value, so that 30 is 30.0. When orders were placed is not compared.
pub fn difference<'a>(a: &'a Value, b: &'a Value) -> Option<(String, &'a Value, &'a Value)> {
    let within = |key: &dyn std::fmt::Display, a, b| {
        let (place, a, b) = difference(a, b)?;
        Some((format!("/{key}{place}"), a, b))
    };
    let here = || Some((String::new(), a, b));
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let mut pairs = x.iter().zip(y).enumerate();
            pairs.find_map(|(place, (x, y))| within(&place, x, y))
        }
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() => {
            x.iter().find_map(|(key, x)| match y.get(key) {
                Some(y) if key == "order_time" && x.is_string() && y.is_string() => None,
                Some(y) => within(key, x, y),
                None => here(),
            })
        }
        _ if a == b => None,
        _ => here(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_not_how_they_are_written() {
        let same = |a, b| difference(&a, &b).is_none();
        assert!(same(
            json!({ "a": [30, null] }),
            json!({ "a": [30.0, null] })
        ));
        assert!(!same(json!({ "a": 30 }), json!({ "a": 30.01 })));
        assert!(!same(json!({ "a": 30 }), json!({ "a": "30" })));
        assert!(!same(json!({ "a": 1 }), json!({ "a": 1, "b": 2 })));
        assert!(!same(json!([1]), json!([1, 2])));
        assert!(!same(json!(null), json!(0)));
        let order = |time| json!({ "order_time": time });
        assert!(same(order(json!("2001")), order(json!("2002"))));
        assert!(!same(order(json!("2001")), order(json!(null))));
    }

    #[test]
    fn a_difference_has_its_place() {
        let one = json!([{"id": 1}, {"id": 2, "name": "Blake"}]);
        for (other, place) in [
            (json!([{"id": 1}, {"id": 2, "name": "Cam"}]), "/1/name"),
            (json!([{"id": 1}]), ""),
            (json!([{"id": 1}, {"id": 2}]), "/1"),
            (json!([{"id": "1"}, {"id": 2, "name": "Blake"}]), "/0/id"),
        ] {
            let (found, ..) = difference(&one, &other).unwrap();
            assert_eq!(found, place, "{other}");
        }
    }
}
