//! Authors, books, and the name and version of the service. Each check needs only the
//! service, over the authors and books of `data/sample_books.sql`.

mod changes;

use axum::http::Method;
use check::{Failure, Outcome, Reply, Service, ensure, equal_json};
use serde_json::{Value, json};

use crate::{expect_content_type, expect_field, expect_problem, misread};

pub use self::changes::*;

/// An id that no author and no book has.
const UNKNOWN: i64 = 99;

/// The authors of `data/sample_books.sql`.
pub fn sample_authors() -> Vec<Value> {
    ["Jane Austen", "Jules Verne", "Mary Shelley"]
        .into_iter()
        .zip(1..)
        .map(|(name, id)| json!({"id": id, "name": name}))
        .collect()
}

/// The books of `data/sample_books.sql`.
pub fn sample_books() -> Vec<Value> {
    vec![
        json!({
            "id": 1, "book_name": "Pride and Prejudice", "author_id": 1, "price": 9.5,
            "description": "Elizabeth Bennet and Mr Darcy", "year_of_publication": 1813,
            "genre": "novel", "language": "English", "pages": 432,
        }),
        json!({
            "id": 2, "book_name": "Around the World in Eighty Days", "author_id": 2, "price": 12,
            "description": null, "year_of_publication": 1872,
            "genre": "adventure", "language": "French", "pages": 320,
        }),
        json!({
            "id": 3, "book_name": "Frankenstein", "author_id": 3, "price": 8.25,
            "description": "A scientist and what he made", "year_of_publication": 1818,
            "genre": "gothic novel", "language": "English", "pages": null,
        }),
    ]
}

/// `GET /app/info`: the name of the service and its version.
pub async fn app_info(service: &Service, version: &str) -> Outcome {
    let reply = service.get("/app/info").await?;
    reply.expect_json(200, &json!({"name": "marketsvc", "version": version}))?;
    expect_content_type(&reply, "application/json")
}

// ---- reading

/// `GET /author/{id}`: the author; 404 for an unknown one, 400 for an id that is not
/// a number of 64 bits.
pub async fn author_by_id(service: &Service) -> Outcome {
    by_id(service, "/author", &sample_authors()).await
}

/// `GET /book/{id}`: the book with all of its fields; 404 for an unknown one, 400 for
/// an id that is not a number of 64 bits.
pub async fn book_by_id(service: &Service) -> Outcome {
    by_id(service, "/book", &sample_books()).await
}

async fn by_id(service: &Service, path: &str, all: &[Value]) -> Outcome {
    for one in all {
        let reply = service.get(&format!("{path}/{}", one["id"])).await?;
        reply.expect_json(200, one)?;
        expect_content_type(&reply, "application/json")?;
    }
    unknown_and_malformed(service, &Method::GET, path, "").await
}

/// An id that is not there is 404, and one that is not a number of 64 bits is 400.
async fn unknown_and_malformed(
    service: &Service,
    method: &Method,
    path: &str,
    body: &str,
) -> Outcome {
    for (id, status) in [
        ("99", 404),
        ("0", 404),
        ("-1", 404),
        ("9223372036854775807", 404),
        ("abc", 400),
        ("1.5", 400),
        ("1x", 400),
        ("9223372036854775808", 400),
        ("-9223372036854775809", 400),
    ] {
        let path = format!("{path}/{id}");
        let reply = send(service, method, &path, body).await?;
        expect_problem(&reply, status)?;
    }
    Ok(())
}

/// `GET /author` and `GET /book`, here `path`: all that are there, by id, in pages.
/// `expected` are all of them, at most 20 of which come without a limit. A page has
/// ids greater than `after`, and at most `limit` of them.
pub async fn pages(service: &Service, path: &str, expected: &[Value]) -> Outcome {
    let reply = service.get(path).await?;
    reply.expect_json(200, &json!(first(expected, 20)))?;
    expect_content_type(&reply, "application/json")?;
    for limit in [1, 7, 100] {
        let mut left = expected;
        let mut after = None;
        loop {
            let page = page(service, path, after, limit).await?;
            let due = first(left, limit);
            page.expect_json(200, &json!(due))?;
            let Some(last) = due.last() else { break };
            after = last["id"].as_i64();
            left = &left[due.len()..];
        }
    }
    // A number that is not an id of a row, before and behind all of them.
    for (after, due) in [(i64::MIN, first(expected, 3)), (i64::MAX, &[])] {
        let page = page(service, path, Some(after), 3).await?;
        page.expect_json(200, &json!(due))?;
    }
    Ok(())
}

fn first(values: &[Value], count: usize) -> &[Value] {
    &values[..values.len().min(count)]
}

async fn page(
    service: &Service,
    path: &str,
    after: Option<i64>,
    limit: usize,
) -> Result<Reply, Failure> {
    let after = after.map_or_else(String::new, |after| format!("after={after}&"));
    service.get(&format!("{path}?{after}limit={limit}")).await
}

/// Rows that are removed between two pages do not hide others: `path` lists
/// `expected`, at least 12 rows, and `remove` removes the one with an id.
pub async fn pages_while_removed(
    service: &Service,
    path: &str,
    expected: &[Value],
    remove: impl AsyncFn(i64) -> Outcome,
) -> Outcome {
    let limit = 5;
    let whole = page(service, path, None, limit).await?;
    whole.expect_json(200, &json!(first(expected, limit)))?;
    // Among them the last one that the client has, after which the next page begins.
    for gone in [0, 2, limit - 1] {
        remove(id(&expected[gone])?).await?;
    }
    let after = id(&expected[limit - 1])?;
    let reply = page(service, path, Some(after), limit).await?;
    let asked = format!(
        "{}\n(the first page ended with id {after}; it and 2 others of that page are removed now)",
        reply.asked()
    );
    reply.expect_status(200)?;
    equal_json(
        asked,
        &json!(first(&expected[limit..], limit)),
        &reply.json()?,
    )
}

fn id(row: &Value) -> Result<i64, Failure> {
    row["id"]
        .as_i64()
        .ok_or_else(|| Failure::new("a row of the list", "an id", row))
}

/// A `limit` that is not from 1 to 100, and an `after` that is not a number, are 400;
/// so is one that is given twice.
pub async fn page_refusals(service: &Service, path: &str) -> Outcome {
    for query in [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=9223372036854775807",
        "limit=9223372036854775808",
        "limit=ten",
        "limit=1.5",
        "limit=",
        "limit=5&limit=5",
        "after=x",
        "after=1.5",
        "after=9223372036854775808",
        "after=1&after=2",
        "after=1&limit=0",
    ] {
        expect_problem(&service.get(&format!("{path}?{query}")).await?, 400)?;
    }
    Ok(())
}

// ---- authors

/// `POST /author`: 201, the author with a new id, and `Location`, where it is then.
pub async fn new_authors(service: &Service) -> Outcome {
    let long = "é".repeat(200);
    let mut highest = 0;
    for name in [
        "Ada",
        "Zoë \"Z\" \\ O'Neil",
        "ada",
        "'; DROP TABLE author; --",
        &long,
    ] {
        let reply = service.post_json("/author", &json!({"name": name})).await?;
        let id = created(service, &reply, "/author", &json!({"name": name})).await?;
        higher(&reply, &mut highest, id)?;
    }
    Ok(())
}

/// The reply is 201 with `expected` and an id, which is where `Location` says.
async fn created(
    service: &Service,
    reply: &Reply,
    path: &str,
    expected: &Value,
) -> Result<i64, Failure> {
    reply.expect_status(201)?;
    expect_content_type(reply, "application/json")?;
    let row = reply.json()?;
    let Some(id) = row["id"].as_i64() else {
        return Err(reply.failure("an object with an integer `id`"));
    };
    let mut expected = expected.clone();
    expected["id"] = json!(id);
    equal_json(reply.asked(), &expected, &row)?;
    let location = reply.header("location").unwrap_or("none");
    ensure(
        location == format!("{path}/{id}"),
        reply.asked(),
        format_args!("the header Location: {path}/{id}"),
        format_args!("Location: {location}"),
    )?;
    service.get(location).await?.expect_json(200, &expected)?;
    Ok(id)
}

fn higher(reply: &Reply, highest: &mut i64, id: i64) -> Outcome {
    ensure(
        id > *highest,
        reply.asked(),
        format_args!("an id greater than {highest}, the highest one before"),
        format_args!("id {id}"),
    )?;
    *highest = id;
    Ok(())
}

/// `POST /author` refuses a taken name with 409, an empty or too long one with 422,
/// and a body that is not an author with 400.
pub async fn author_refusals(service: &Service) -> Outcome {
    let long = "x".repeat(201);
    for (name, status) in [
        ("Jules Verne", 409),
        ("", 422),
        (" \t\n", 422),
        (&long, 422),
    ] {
        let reply = service.post_json("/author", &json!({"name": name})).await?;
        expect_field(&reply, status, "name")?;
    }
    for body in [
        "",
        "no JSON",
        "{}",
        "[]",
        r#"{"name":null}"#,
        r#"{"name":5}"#,
        r#"{"name":["Ada"]}"#,
        r#"{"name":"Ada""#,
        r#"{"name":"Ada"}}"#,
    ] {
        let reply = service.post("/author", "application/json", body).await?;
        expect_problem(&reply, 400)?;
    }
    let twice = [(r#"{"name":"Ada","name":"Bea"}"#, "`name`")];
    misread(
        service,
        (Method::POST, "/author"),
        r#"{"name":"Ada"}"#,
        &twice,
    )
    .await?;
    not_json(service, &Method::POST, "/author", r#"{"name":"Ada"}"#).await
}

/// A body without the content type of JSON is refused, and the problem says why.
async fn not_json(service: &Service, method: &Method, path: &str, body: &str) -> Outcome {
    let text = [("content-type", "text/plain")];
    let reply = service
        .send(method.clone(), path, &text, body.to_owned())
        .await?;
    let status = if reply.status == 415 { 415 } else { 400 };
    expect_problem(&reply, status)?;
    ensure(
        reply.text().contains("application/json"),
        reply.asked(),
        "a problem that names application/json",
        reply.text(),
    )
}

/// `DELETE /author/{id}`: 204 without a body, and then the author is gone; 409 for an
/// author who still has books, 404 for an unknown one.
pub async fn author_removed(service: &Service) -> Outcome {
    let reply = service
        .post_json("/author", &json!({"name": "Ada"}))
        .await?;
    let id = created(service, &reply, "/author", &json!({"name": "Ada"})).await?;
    let path = format!("/author/{id}");
    removed(service, &path).await?;
    let again = service
        .post_json("/author", &json!({"name": "Ada"}))
        .await?;
    let next = created(service, &again, "/author", &json!({"name": "Ada"})).await?;
    higher(&again, &mut { id }, next)?;

    for author in sample_authors() {
        let path = format!("/author/{}", author["id"]);
        let reply = send(service, &Method::DELETE, &path, "").await?;
        expect_field(&reply, 409, "id")?;
        service.get(&path).await?.expect_json(200, &author)?;
    }
    unknown_and_malformed(service, &Method::DELETE, "/author", "").await
}

/// `DELETE path` is 204 without a body, and after that there is nothing at `path`.
async fn removed(service: &Service, path: &str) -> Outcome {
    let reply = send(service, &Method::DELETE, path, "").await?;
    reply.expect_status(204)?;
    ensure(
        reply.body.is_empty(),
        reply.asked(),
        "status 204 without a body",
        reply.text(),
    )?;
    for method in [Method::GET, Method::DELETE] {
        let reply = send(service, &method, path, "").await?;
        expect_problem(&reply, 404)?;
    }
    Ok(())
}

async fn send(
    service: &Service,
    method: &Method,
    path: &str,
    body: &str,
) -> Result<Reply, Failure> {
    let json = [("content-type", "application/json")];
    let headers = if body.is_empty() { &[][..] } else { &json };
    service
        .send(method.clone(), path, headers, body.to_owned())
        .await
}
