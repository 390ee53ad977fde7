//! The comparison of an answer with a document, tried on a small document and one fault
//! at a time.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::{Answer, Document};

fn document() -> Document {
    let amount = json!({"type": "number", "example": 10.5});
    let time = json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"});
    let item = json!({
        "type": "object", "required": ["id"],
        "properties": {
            "id": {"type": "integer"},
            "cost": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Amount"}]},
            "since": time,
        },
    });
    let problem = json!({
        "type": "object", "required": ["status"],
        "properties": {"status": {"type": "integer"}},
        "example": {"status": 404},
    });
    let items = json!({"type": "array", "items": {"$ref": "#/components/schemas/Item"}});
    Document {
        json: json!({
            "paths": {"/items": {"get": {"responses": {
                "200": {"content": {
                    "application/json": {"schema": items},
                    "application/x-ndjson": {
                        "schema": {"type": "string"}, "example": "{\"id\":1,\"since\":\"2024-03\"}\n",
                    },
                }},
                "201": {"headers": {
                    "Location": {"schema": {"type": "string"}},
                    "X-Count": {"schema": {"type": "integer"}},
                }},
                "503": {"content": {"application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                }}},
            }}}},
            "components": {"schemas": {"Amount": amount, "Item": item, "Problem": problem}},
        }),
    }
}

/// The document with another value at this path.
fn with(pointer: &str, key: &str, value: Value) -> Document {
    let mut document = document();
    let part = document.json.pointer_mut(pointer).expect("it is there");
    part[key] = value;
    document
}

fn answer(status: u16, media: &str, body: &str) -> Answer {
    Answer {
        method: Method::GET,
        path: "/items".to_owned(),
        status,
        media: Some(media.to_owned()).filter(|media| !media.is_empty()),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
    }
}

fn stored(location: &'static str, count: &'static str) -> Answer {
    let mut answer = answer(201, "", "");
    for (name, value) in [("location", location), ("x-count", count)] {
        if !value.is_empty() {
            let value = HeaderValue::from_static(value);
            answer.headers.insert(name, value);
        }
    }
    answer
}

#[test]
fn each_member_of_an_answer_is_in_its_schema() {
    let fits = |body| {
        document()
            .expect_answer(&answer(200, "application/json", body))
            .is_ok()
    };
    assert!(fits(r"[]"));
    assert!(fits(
        r#"[{"id": 1}, {"id": 2, "cost": 1, "since": "2024-03"}]"#
    ));
    assert!(fits(r#"[{"id": 1, "cost": null}]"#));
    assert!(!fits(r#"[{"id": 1}, {"id": 2, "name": "Pin"}]"#));
    assert!(!fits(r#"[{"cost": 1}]"#));
    assert!(!fits(r#"[{"id": 1, "since": "2024-3"}]"#));
}

#[test]
fn a_member_can_be_in_any_part_of_a_schema() {
    let document = document();
    let item = json!({"$ref": "#/components/schemas/Item"});
    let named = json!({"properties": {"name": {"type": "string"}}});
    let value = json!({"id": 1, "name": "Pin"});
    let described = |schema: &Value| document.describes(schema, &value).is_ok();
    assert!(described(&json!({"allOf": [item, named]})));
    assert!(described(&json!({"anyOf": [item, named]})));
    assert!(described(
        &json!({"allOf": [item], "properties": {"name": {}}})
    ));
    assert!(described(&json!({"additionalProperties": {}})));
    // What is said of a text is not said of an object.
    assert!(!described(
        &json!({"anyOf": [item, {"type": "string", "properties": {"name": {}}}]})
    ));
    assert!(!described(&item));
    assert!(!described(&json!({})));
    assert!(described(&json!({"$ref": "#/components/schemas/None"})));
    let nested = json!({"inner": [value]});
    let of = |inner: Value| json!({"properties": {"inner": {"items": inner}}});
    assert!(
        document
            .describes(&of(json!({"allOf": [item, named]})), &nested)
            .is_ok()
    );
    assert!(document.describes(&of(item), &nested).is_err());
}

#[test]
fn each_header_is_there_and_fits_its_schema() {
    let fits = |answer| document().expect_answer(&answer).is_ok();
    assert!(fits(stored("/items/1", "5")));
    assert!(fits(stored("5", "5")), "a text may consist of digits");
    assert!(!fits(stored("/items/1", "five")));
    assert!(!fits(stored("/items/1", "5.5")));
    assert!(!fits(stored("/items/1", "")));
    assert!(!fits(stored("", "5")));

    let mut undescribed = answer(200, "application/json", "[]");
    undescribed
        .headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    assert!(fits(undescribed.clone()));
    undescribed
        .headers
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    assert!(!fits(undescribed));
}

#[test]
fn each_line_fits_the_schema_of_an_item() {
    const LINES: &str = "application/x-ndjson";
    let sent = |body| document().expect_answer(&answer(200, LINES, body)).is_ok();
    assert!(sent("{\"id\":1}\n{\"id\":2}\n"));
    assert!(!sent("{\"id\":1}\n{\"name\":\"Pin\"}\n"));

    let content = "/paths/~1items/get/responses/200/content/application~1x-ndjson";
    let shown = |example: &str| {
        with(content, "example", json!(example))
            .expect_answer(&answer(200, LINES, "{\"id\":1}\n"))
            .is_ok()
    };
    assert!(shown("{\"id\":1}\n{\"id\":2}\n"));
    assert!(!shown("{\"id\":1}"));
    assert!(!shown("{\"id\":1,\"since\":\"2024-03-18\"}\n"));
    assert!(!shown("{\"id\":1,\"name\":\"Pin\"}\n"));
}

#[test]
fn each_example_fits_its_schema() {
    let content = "/paths/~1items/get/responses/200/content/application~1json";
    let list = answer(200, "application/json", "[]");
    let shown = |example| {
        with(content, "example", example)
            .expect_answer(&list)
            .is_ok()
    };
    assert!(shown(json!([{"id": 1}])));
    assert!(!shown(json!([{"id": "1"}])));
    assert!(!shown(json!([{"id": 1, "name": "Pin"}])));
    let named = json!({"good": {"value": []}, "bad": {"value": {}}});
    assert!(
        with(content, "examples", named)
            .expect_answer(&list)
            .is_err()
    );
    let amount = with("/components/schemas/Amount", "example", json!("10.5"));
    assert!(amount.expect_answer(&list).is_err());
}

#[test]
fn the_example_of_a_problem_has_the_status_of_its_response() {
    let content = "/paths/~1items/get/responses/503/content/application~1problem+json";
    let busy = answer(503, "application/problem+json", r#"{"status": 503}"#);
    // The example of the schema is that of all responses.
    assert!(document().expect_answer(&busy).is_ok());
    let shown = |example| {
        with(content, "example", example)
            .expect_answer(&busy)
            .is_ok()
    };
    assert!(shown(json!({"status": 503})));
    assert!(!shown(json!({"status": 404})));
    assert!(!shown(json!({})));
}
