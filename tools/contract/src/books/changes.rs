//! How books are stored, changed and removed.

use axum::http::Method;
use check::{Outcome, Service, equal_json};
use serde_json::{Value, json};

use super::{
    UNKNOWN, created, higher, not_json, pages, removed, sample_authors, sample_books, send,
    unknown_and_malformed,
};
use crate::{WHOLE_NUMBER, expect_content_type, expect_field, expect_problem, misread};

/// A book by author 1 with a value in each field, none of which another book has.
pub fn new_book(name: &str) -> Value {
    json!({
        "book_name": name, "author_id": 1, "price": 10.5, "description": "read twice",
        "year_of_publication": 1815, "genre": "romance", "language": "Latin", "pages": 77,
    })
}

/// The fields of a book that may be `null` or missing.
pub const NULLABLE: [&str; 5] = [
    "description",
    "year_of_publication",
    "genre",
    "language",
    "pages",
];

/// `book` with other values for some of its fields.
fn with(book: &Value, change: &Value) -> Value {
    let mut book = book.clone();
    for (field, value) in change.as_object().into_iter().flatten() {
        book[field] = value.clone();
    }
    book
}

fn without(book: &Value, field: &str) -> Value {
    let mut book = book.clone();
    if let Some(book) = book.as_object_mut() {
        book.remove(field);
    }
    book
}

/// `POST /book`: 201, the book with a new id, and `Location`, where it is then. A
/// field that may be `null` may be missing. Prices are exact to the cent.
pub async fn new_books(service: &Service) -> Outcome {
    let long = "é".repeat(200);
    let texts = json!({
        "book_name": long, "description": "d".repeat(10_000), "genre": "g".repeat(100),
        "language": "'; DROP TABLE book; --",
    });
    let mut highest = 0;
    for (change, number) in [
        json!({}),
        json!({"author_id": 3}),
        texts,
        json!({"year_of_publication": -3000, "pages": 1}),
        json!({"year_of_publication": 3000, "pages": 100_000}),
        json!({"price": 0}),
        json!({"price": 12}),
        // As floats, times 100, these are a little less or more than whole.
        json!({"price": 0.07}),
        json!({"price": 0.29}),
        json!({"price": 4.35}),
        json!({"price": 19.99}),
        json!({"price": 1.1}),
        json!({"price": 999_999.99}),
        json!({"price": 1_000_000}),
    ]
    .into_iter()
    .zip(1..)
    {
        let book = with(&new_book(&format!("New {number}")), &change);
        let reply = service.post_json("/book", &book).await?;
        let id = created(service, &reply, "/book", &book).await?;
        higher(&reply, &mut highest, id)?;
    }
    for field in NULLABLE {
        let missing = without(&new_book(&format!("Without {field}")), field);
        let null = with(&missing, &json!({field: null}));
        let reply = service.post_json("/book", &missing).await?;
        created(service, &reply, "/book", &null).await?;
        let null = with(&null, &json!({"book_name": format!("With null: {field}")}));
        let reply = service.post_json("/book", &null).await?;
        created(service, &reply, "/book", &null).await?;
    }
    Ok(())
}

/// Values that cannot be, each with its field. `POST`, `PUT` and `PATCH` answer 422.
fn impossible() -> Vec<(&'static str, Value)> {
    let long = |length| json!("x".repeat(length));
    vec![
        ("book_name", json!("")),
        ("book_name", json!(" \t ")),
        ("book_name", long(201)),
        ("author_id", json!(UNKNOWN)),
        ("author_id", json!(0)),
        ("author_id", json!(-1)),
        ("price", json!(-1)),
        ("price", json!(-0.01)),
        ("price", json!(19.999)),
        ("price", json!(0.001)),
        ("price", json!(10.500_000_001)),
        ("price", json!(1_000_000.01)),
        ("price", json!(1e300)),
        ("description", json!("")),
        ("description", long(10_001)),
        ("genre", json!("")),
        ("genre", json!("  ")),
        ("genre", long(101)),
        ("language", json!("")),
        ("language", long(101)),
        ("year_of_publication", json!(3001)),
        ("year_of_publication", json!(-3001)),
        ("year_of_publication", json!(i64::MAX)),
        ("pages", json!(0)),
        ("pages", json!(-1)),
        ("pages", json!(100_001)),
    ]
}

/// Values of another type than the field's. `POST`, `PUT` and `PATCH` answer 400.
fn mistyped() -> Vec<(&'static str, Value)> {
    vec![
        ("book_name", json!(null)),
        ("book_name", json!(5)),
        ("book_name", json!(["Emma"])),
        ("author_id", json!(null)),
        ("author_id", json!("1")),
        ("author_id", json!(1.5)),
        ("author_id", json!(9_223_372_036_854_775_808_u64)),
        ("price", json!(null)),
        ("price", json!("10.5")),
        ("price", json!(true)),
        ("description", json!(5)),
        ("year_of_publication", json!("1813")),
        ("year_of_publication", json!(1813.5)),
        ("genre", json!(["novel"])),
        ("language", json!({"name": "English"})),
        ("pages", json!("432")),
        ("pages", json!(432.5)),
    ]
}

/// `POST /book` refuses a taken name with 409, a value that cannot be with 422, both
/// naming the field, and a body that is not a book with 400.
pub async fn book_refusals(service: &Service) -> Outcome {
    let book = new_book("Emma");
    wrong_values(service, &Method::POST, "/book", &book).await?;
    let taken = new_book("Frankenstein");
    expect_field(&service.post_json("/book", &taken).await?, 409, "book_name")?;
    malformed(service, &Method::POST, "/book", &book).await?;
    for field in ["book_name", "author_id", "price"] {
        let reply = service.post_json("/book", &without(&book, field)).await?;
        expect_problem(&reply, 400)?;
    }
    Ok(())
}

async fn wrong_values(service: &Service, method: &Method, path: &str, book: &Value) -> Outcome {
    for (field, value) in impossible() {
        let body = with(book, &json!({field: value})).to_string();
        let reply = send(service, method, path, &body).await?;
        expect_field(&reply, 422, field)?;
    }
    for (field, value) in mistyped() {
        let body = with(book, &json!({field: value})).to_string();
        expect_problem(&send(service, method, path, &body).await?, 400)?;
    }
    Ok(())
}

/// Bodies that are not JSON, or JSON that a client did not mean.
async fn malformed(service: &Service, method: &Method, path: &str, good: &Value) -> Outcome {
    let good = good.to_string();
    let cut = &good[..good.len() - 1];
    for body in [
        "",
        "no JSON",
        "null",
        "5",
        "\"Emma\"",
        cut,
        &format!("{good}}}"),
    ] {
        let json = [("content-type", "application/json")];
        let reply = service
            .send(method.clone(), path, &json, body.to_owned())
            .await?;
        expect_problem(&reply, 400)?;
    }
    let and = |field: &str| format!("{cut},{field}}}");
    let wrong = [
        (and(r#""price":1"#), "`price`"),
        (and(r#""pages":null"#), "`pages`"),
        (
            good.replace(r#""author_id":1"#, r#""author_id":1.0"#),
            WHOLE_NUMBER,
        ),
        (
            good.replace(r#""author_id":1"#, r#""author_id":1e0"#),
            WHOLE_NUMBER,
        ),
        // Python's writer makes these; they are not JSON.
        (good.replace("10.5", "NaN"), "JSON"),
        (good.replace("10.5", "Infinity"), "JSON"),
    ];
    misread(service, (method.clone(), path), &good, &wrong).await?;
    not_json(service, method, path, &good).await
}

/// Several `POST /book` of one name at the same time: one is 201, the others 409.
pub async fn one_name_at_once(service: &Service) -> Outcome {
    for round in 0..8 {
        let book = new_book(&format!("Once {round}"));
        let post = || service.post_json("/book", &book);
        let (a, b, c) = tokio::join!(post(), post(), post());
        let mut replies = [a?, b?, c?];
        replies.sort_by_key(|reply| reply.status);
        let statuses = replies.each_ref().map(|reply| reply.status);
        let asked = format!("3 times at once: {}", replies[0].asked());
        equal_json(asked, &json!([201, 409, 409]), &json!(statuses))?;
        for reply in &replies[1..] {
            expect_field(reply, 409, "book_name")?;
        }
    }
    Ok(())
}

// ---- changes of a book

/// `PUT /book/{id}`: all values are new, and a missing field is `null` then. The
/// answer is 200 and the book.
pub async fn book_replaced(service: &Service) -> Outcome {
    for field in NULLABLE {
        let missing = without(&new_book("Replaced"), field);
        let expected = with(&missing, &json!({field: null, "id": 2}));
        put(service, 2, &missing, &expected).await?;
        let book = with(
            &new_book("Replaced again"),
            &json!({"price": 0.07, "author_id": 3}),
        );
        put(service, 2, &book, &with(&book, &json!({"id": 2}))).await?;
    }
    // The book as it was read, its own name and the id that the path has too.
    let book = &sample_books()[2];
    put(service, 3, book, book).await?;
    // The others are as before.
    for book in [&sample_books()[0], book] {
        let path = format!("/book/{}", book["id"]);
        service.get(&path).await?.expect_json(200, book)?;
    }
    let book = new_book("Emma").to_string();
    unknown_and_malformed(service, &Method::PUT, "/book", &book).await
}

async fn put(service: &Service, id: i64, body: &Value, expected: &Value) -> Outcome {
    changed(service, &Method::PUT, id, body, expected).await
}

async fn changed(
    service: &Service,
    method: &Method,
    id: i64,
    body: &Value,
    expected: &Value,
) -> Outcome {
    let path = format!("/book/{id}");
    let reply = send(service, method, &path, &body.to_string()).await?;
    reply.expect_json(200, expected)?;
    expect_content_type(&reply, "application/json")?;
    let later = service.get(&path).await?;
    later.expect_status(200)?;
    let asked = format!("{}\nthen GET {path}", reply.asked());
    equal_json(asked, expected, &later.json()?)
}

/// `PUT /book/{id}` refuses what `POST /book` refuses, and then the book is as before.
pub async fn replace_refusals(service: &Service) -> Outcome {
    let book = new_book("Emma");
    refused_changes(service, &Method::PUT, &book).await?;
    for field in ["book_name", "author_id", "price"] {
        let body = without(&book, field).to_string();
        expect_problem(&send(service, &Method::PUT, "/book/1", &body).await?, 400)?;
    }
    unchanged(service, 1).await
}

async fn refused_changes(service: &Service, method: &Method, base: &Value) -> Outcome {
    wrong_values(service, method, "/book/1", base).await?;
    let taken = with(base, &json!({"book_name": "Frankenstein"})).to_string();
    let reply = send(service, method, "/book/1", &taken).await?;
    expect_field(&reply, 409, "book_name")?;
    unchanged(service, 1).await
}

async fn unchanged(service: &Service, id: usize) -> Outcome {
    let reply = service.get(&format!("/book/{id}")).await?;
    reply.expect_status(200)?;
    let asked = format!("after requests that were refused: {}", reply.asked());
    equal_json(asked, &sample_books()[id - 1], &reply.json()?)
}

/// `PATCH /book/{id}`: the fields of the body are new, a missing one stays. The answer
/// is 200 and the book.
pub async fn book_changed(service: &Service) -> Outcome {
    let mut book = sample_books()[0].clone();
    for change in [
        json!({}),
        json!({"price": 4.35}),
        json!({"book_name": "Emma"}),
        // Its own name is not taken by another book.
        json!({"book_name": "Emma"}),
        json!({"author_id": 3}),
        json!({"description": "Miss Woodhouse"}),
        json!({"year_of_publication": 1815}),
        json!({"genre": "comedy"}),
        json!({"language": "German"}),
        json!({"pages": 474}),
        json!({"price": 0, "pages": 1, "language": "Latin"}),
    ] {
        book = with(&book, &change);
        changed(service, &Method::PATCH, 1, &change, &book).await?;
    }
    // A book with fields that are null, which stay so.
    let second = with(&sample_books()[1], &json!({"genre": "travel"}));
    let change = json!({"genre": "travel"});
    changed(service, &Method::PATCH, 2, &change, &second).await?;
    unchanged(service, 3).await?;
    for body in ["{}", r#"{"pages":5}"#] {
        unknown_and_malformed(service, &Method::PATCH, "/book", body).await?;
    }
    Ok(())
}

/// `PATCH /book/{id}` with `null` clears a field that may be `null`; such a field can
/// have a value again.
pub async fn book_cleared(service: &Service) -> Outcome {
    let mut book = sample_books()[0].clone();
    for field in NULLABLE {
        let value = book[field].clone();
        for change in [
            json!({field: null}),
            json!({field: null}),
            json!({field: value}),
        ] {
            book = with(&book, &change);
            changed(service, &Method::PATCH, 1, &change, &book).await?;
        }
    }
    let all: Value = NULLABLE
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    let change = with(&all, &json!({"price": 3.5}));
    book = with(&book, &change);
    changed(service, &Method::PATCH, 1, &change, &book).await
}

/// `PATCH /book/{id}` refuses the values that `POST /book` refuses, `null` for a field
/// that needs a value with 400, and then the book is as before.
pub async fn change_refusals(service: &Service) -> Outcome {
    refused_changes(service, &Method::PATCH, &json!({})).await?;
    // A value that can be beside one that cannot.
    let mixed = json!({"genre": "comedy", "pages": 0}).to_string();
    let reply = send(service, &Method::PATCH, "/book/1", &mixed).await?;
    expect_field(&reply, 422, "pages")?;
    malformed(service, &Method::PATCH, "/book/1", &new_book("Emma")).await?;
    unchanged(service, 1).await
}

/// Several `PATCH /book/{id}` of different fields at the same time: all last.
pub async fn changes_at_once(service: &Service) -> Outcome {
    let mut book = sample_books()[0].clone();
    for round in 1..=8 {
        let changes = [
            json!({"pages": round}),
            json!({"genre": format!("genre {round}")}),
            json!({"price": round}),
        ];
        let bodies = changes.each_ref().map(ToString::to_string);
        let patch = |body| send(service, &Method::PATCH, "/book/1", body);
        let (a, b, c) = tokio::join!(patch(&bodies[0]), patch(&bodies[1]), patch(&bodies[2]));
        for reply in [a?, b?, c?] {
            reply.expect_status(200)?;
        }
        for change in &changes {
            book = with(&book, change);
        }
        let reply = service.get("/book/1").await?;
        reply.expect_status(200)?;
        let asked = format!(
            "at once, PATCH /book/1 with\n{}\nthen GET /book/1",
            bodies.join("\n")
        );
        equal_json(asked, &book, &reply.json()?)?;
    }
    Ok(())
}

/// `DELETE /book/{id}`: 204 without a body, and then the book is gone and the others
/// are not. Its name is free again, its id is not.
pub async fn book_removed(service: &Service) -> Outcome {
    removed(service, "/book/3").await?;
    let rest = sample_books();
    service
        .get("/book")
        .await?
        .expect_json(200, &json!(rest[..2]))?;
    let book = new_book("Frankenstein");
    let reply = service.post_json("/book", &book).await?;
    let id = created(service, &reply, "/book", &book).await?;
    higher(&reply, &mut 3, id)?;
    unknown_and_malformed(service, &Method::DELETE, "/book", "").await
}

/// A store without books and authors answers, and can be filled again.
pub async fn empty_store(service: &Service) -> Outcome {
    for (path, all) in [("/book", sample_books()), ("/author", sample_authors())] {
        for row in all {
            removed(service, &format!("{path}/{}", row["id"])).await?;
        }
        pages(service, path, &[]).await?;
        unknown_and_malformed(service, &Method::GET, path, "").await?;
    }
    let reply = service.post_json("/book", &new_book("Emma")).await?;
    expect_field(&reply, 422, "author_id")?;
    let reply = service
        .post_json("/author", &json!({"name": "Jane Austen"}))
        .await?;
    let id = created(service, &reply, "/author", &json!({"name": "Jane Austen"})).await?;
    let book = with(&new_book("Emma"), &json!({"author_id": id}));
    let reply = service.post_json("/book", &book).await?;
    created(service, &reply, "/book", &book).await.map(drop)
}
