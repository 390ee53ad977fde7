//! How books are stored, changed and removed.

use check::{Outcome, Service, equal_json};
use serde_json::{Value, json};

use super::{
    UNKNOWN, created, pages, removed, sample_authors, sample_books, stored, unknown_and_malformed,
};
use crate::{WHOLE_NUMBER, ask, bodies_400, expect_content_type, expect_field, misread};

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

/// `row` with other values for some of its fields.
pub(crate) fn with(row: &Value, change: &Value) -> Value {
    let mut row = row.clone();
    for (field, value) in change.as_object().into_iter().flatten() {
        row[field] = value.clone();
    }
    row
}

pub(crate) fn without(row: &Value, field: &str) -> Value {
    let mut row = row.clone();
    row.as_object_mut().and_then(|row| row.remove(field));
    row
}

/// `POST /book`: 201, the book with a new id, and `Location`, where it is then. A
/// field that may be `null` may be missing. Prices are exact to the cent.
pub async fn new_books(service: &Service) -> Outcome {
    let texts = json!({
        "book_name": "é".repeat(200), "description": "d".repeat(10_000),
        "genre": "g".repeat(100), "language": "'; DROP TABLE book; --",
    });
    let mut books = vec![
        json!({"author_id": 3}),
        texts,
        json!({"year_of_publication": -3000, "pages": 1}),
        json!({"year_of_publication": 3000, "pages": 100_000}),
    ];
    // As floats, times 100, some of these are a little less or more than whole.
    let prices = json!([
        10.5, 0, 12, 0.07, 0.29, 4.35, 19.99, 1.1, 999_999.99, 1_000_000
    ]);
    let prices = prices.as_array().into_iter().flatten();
    books.extend(prices.map(|price| json!({"price": price})));
    let mut highest = 0;
    for (number, change) in books.iter().enumerate() {
        let book = with(&new_book(&format!("New {number}")), change);
        highest = stored(service, "/book", &book, highest).await?;
    }
    for field in NULLABLE {
        let missing = without(&new_book(&format!("Without {field}")), field);
        let null = with(&missing, &json!({field: null}));
        let reply = service.post_json("/book", &missing).await?;
        created(service, &reply, "/book", &null, highest).await?;
        let null = with(&null, &json!({"book_name": format!("With null: {field}")}));
        highest = stored(service, "/book", &null, highest).await?;
    }
    Ok(())
}

/// Values that each field refuses: those that cannot be, with 422, and those of another
/// type, with 400.
fn wrong_values() -> [(&'static str, Value, Value); 8] {
    let long = |length| "x".repeat(length);
    let prices = json!([
        -1,
        -0.01,
        19.999,
        0.001,
        10.500_000_001,
        1_000_000.01,
        1e300
    ]);
    let ids = json!([null, "1", 1.5, 9_223_372_036_854_775_808_u64]);
    let years = json!([3001, -3001, i64::MAX]);
    [
        (
            "book_name",
            json!(["", " \t ", long(201)]),
            json!([null, 5, ["Emma"]]),
        ),
        ("author_id", json!([UNKNOWN, 0, -1]), ids),
        ("price", prices, json!([null, "10.5", true])),
        ("description", json!(["", long(10_001)]), json!([5])),
        ("genre", json!(["", "  ", long(101)]), json!([["novel"]])),
        (
            "language",
            json!(["", long(101)]),
            json!([{"name": "English"}]),
        ),
        ("year_of_publication", years, json!(["1813", 1813.5])),
        ("pages", json!([0, -1, 100_001]), json!(["432", 432.5])),
    ]
}

/// `POST /book` refuses a taken name with 409, a value that cannot be with 422, both
/// naming the field, and a body that is not a book with 400.
pub async fn book_refusals(service: &Service) -> Outcome {
    refused(service, "POST /book", &new_book("Emma")).await
}

/// The request refuses `base` with one wrong value, a book that lacks a field of `base`
/// that must have a value, and bodies that are not JSON or not meant so. Book 1 is as before.
async fn refused(service: &Service, request: &str, base: &Value) -> Outcome {
    for (field, impossible, mistyped) in wrong_values() {
        for value in impossible.as_array().into_iter().flatten() {
            let body = with(base, &json!({field: value})).to_string();
            expect_field(&ask(service, request, body).await?, 422, field)?;
        }
        let mistyped = mistyped.as_array().into_iter().flatten();
        let bodies = mistyped.map(|value| with(base, &json!({field: value})));
        bodies_400(service, request, bodies.collect()).await?;
    }
    let taken = with(base, &json!({"book_name": "Frankenstein"})).to_string();
    expect_field(&ask(service, request, taken).await?, 409, "book_name")?;
    let needed = ["book_name", "author_id", "price"];
    let needed = needed.iter().filter(|field| base.get(field).is_some());
    let bodies = needed.map(|field| without(base, field)).collect();
    bodies_400(service, request, bodies).await?;
    bodies_400(service, request, json!([null, 5, "Emma"])).await?;

    let good = new_book("Emma").to_string();
    let and = |field: &str| format!("{},{field}}}", &good[..good.len() - 1]);
    let author = |number| good.replace(r#""author_id":1"#, &format!(r#""author_id":{number}"#));
    let wrong = [
        (and(r#""price":1"#), "`price`"),
        (and(r#""pages":null"#), "`pages`"),
        (author("1.0"), WHOLE_NUMBER),
        (author("1e0"), WHOLE_NUMBER),
        // Python's writer makes these; they are not JSON.
        (good.replace("10.5", "NaN"), "JSON"),
        (good.replace("10.5", "Infinity"), "JSON"),
    ];
    misread(service, request, &good, &wrong).await?;
    unchanged(service, 1).await
}

async fn unchanged(service: &Service, id: usize) -> Outcome {
    let reply = service.get(&format!("/book/{id}")).await?;
    reply.expect_status(200)?;
    let asked = format!("after requests that were refused: {}", reply.asked());
    equal_json(asked, &sample_books()[id - 1], &reply.json()?)
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
        changed(service, "PUT /book/2", &missing, &expected).await?;
        let other = json!({"price": 0.07, "author_id": 3});
        let book = with(&new_book("Replaced again"), &other);
        let expected = with(&book, &json!({"id": 2}));
        changed(service, "PUT /book/2", &book, &expected).await?;
    }
    // The book as it was read, its own name and the id that the path has too.
    let book = &sample_books()[2];
    changed(service, "PUT /book/3", book, book).await?;
    unchanged(service, 1).await?;
    unchanged(service, 3).await?;
    let book = new_book("Emma").to_string();
    unknown_and_malformed(service, "PUT /book", &book).await
}

/// `PUT /path` or `PATCH /path` is 200 and the book, which is the one at the path then.
async fn changed(service: &Service, request: &str, body: &Value, expected: &Value) -> Outcome {
    let reply = ask(service, request, body.to_string()).await?;
    reply.expect_json(200, expected)?;
    expect_content_type(&reply, "application/json")?;
    let path = request.split_once(' ').unwrap_or_default().1;
    let later = service.get(path).await?;
    later.expect_status(200)?;
    let asked = format!("{}\nthen GET {path}", reply.asked());
    equal_json(asked, expected, &later.json()?)
}

/// `PUT /book/{id}` refuses what `POST /book` refuses, and then the book is as before.
pub async fn replace_refusals(service: &Service) -> Outcome {
    refused(service, "PUT /book/1", &new_book("Emma")).await
}

/// `PATCH /book/{id}`: the fields of the body are new, a missing one stays. The answer
/// is 200 and the book.
pub async fn book_changed(service: &Service) -> Outcome {
    let changes = [
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
    ];
    patched(service, "PATCH /book/1", &sample_books()[0], &changes).await?;
    // A book with fields that are null, which stay so.
    let change = [json!({"genre": "travel"})];
    patched(service, "PATCH /book/2", &sample_books()[1], &change).await?;
    unchanged(service, 3).await?;
    for body in ["{}", r#"{"pages":5}"#] {
        unknown_and_malformed(service, "PATCH /book", body).await?;
    }
    Ok(())
}

/// Each change changes the book further.
async fn patched(service: &Service, request: &str, book: &Value, changes: &[Value]) -> Outcome {
    let mut book = book.clone();
    for change in changes {
        book = with(&book, change);
        changed(service, request, change, &book).await?;
    }
    Ok(())
}

/// `PATCH /book/{id}` with `null` clears a field that may be `null`; such a field can
/// have a value again.
pub async fn book_cleared(service: &Service) -> Outcome {
    let book = &sample_books()[0];
    let mut changes = Vec::new();
    for field in NULLABLE {
        let clear = json!({field: null});
        changes.extend([clear.clone(), clear, json!({field: book[field]})]);
    }
    let all = NULLABLE.map(|field| (field.to_owned(), Value::Null));
    changes.push(with(&all.into_iter().collect(), &json!({"price": 3.5})));
    patched(service, "PATCH /book/1", book, &changes).await
}

/// `PATCH /book/{id}` refuses the values that `POST /book` refuses, `null` for a field
/// that needs a value with 400, and then the book is as before.
pub async fn change_refusals(service: &Service) -> Outcome {
    refused(service, "PATCH /book/1", &json!({})).await?;
    // A value that can be beside one that cannot.
    let mixed = r#"{"genre":"comedy","pages":0}"#;
    let reply = ask(service, "PATCH /book/1", mixed).await?;
    expect_field(&reply, 422, "pages")?;
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
        let patch = |body| ask(service, "PATCH /book/1", body);
        let (a, b, c) = tokio::join!(patch(&bodies[0]), patch(&bodies[1]), patch(&bodies[2]));
        for reply in [a?, b?, c?] {
            reply.expect_status(200)?;
        }
        book = changes
            .iter()
            .fold(book, |book, change| with(&book, change));
        let reply = service.get("/book/1").await?;
        reply.expect_status(200)?;
        let bodies = bodies.join("\n");
        let asked = format!("at once, PATCH /book/1 with\n{bodies}\nthen GET /book/1");
        equal_json(asked, &book, &reply.json()?)?;
    }
    Ok(())
}

/// `DELETE /book/{id}`: 204 without a body, and then the book is gone and the others
/// are not. Its name is free again, its id is not.
pub async fn book_removed(service: &Service) -> Outcome {
    removed(service, "/book/3").await?;
    let rest = json!(sample_books()[..2]);
    service.get("/book").await?.expect_json(200, &rest)?;
    stored(service, "/book", &new_book("Frankenstein"), 3).await?;
    unknown_and_malformed(service, "DELETE /book", "").await
}

/// A store without books and authors answers, and can be filled again.
pub async fn empty_store(service: &Service) -> Outcome {
    for (path, all) in [("/book", sample_books()), ("/author", sample_authors())] {
        for row in all {
            removed(service, &format!("{path}/{}", row["id"])).await?;
        }
        pages(service, path, &[]).await?;
        unknown_and_malformed(service, &format!("GET {path}"), "").await?;
    }
    let reply = service.post_json("/book", &new_book("Emma")).await?;
    expect_field(&reply, 422, "author_id")?;
    let id = stored(service, "/author", &json!({"name": "Jane Austen"}), 3).await?;
    let book = with(&new_book("Emma"), &json!({"author_id": id}));
    stored(service, "/book", &book, 3).await.map(drop)
}
