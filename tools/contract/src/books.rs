//! Authors, books, and the name and version of the service. Each check needs only the
//! service, over the authors and books of `data/sample_books.sql`.

mod changes;

use check::{Failure, OrFail, Outcome, Reply, Service, ensure, equal_json};
use serde_json::{Value, json};

use crate::{
    MALFORMED_IDS, ask, bodies_400, expect_content_type, expect_field, expect_location,
    expect_problem, misread, paths_400,
};

pub use self::changes::*;

/// An id that no author and no book has.
const UNKNOWN: i64 = 99;

/// The authors of `data/sample_books.sql`.
pub fn sample_authors() -> [Value; 3] {
    [(1, "Jane Austen"), (2, "Jules Verne"), (3, "Mary Shelley")]
        .map(|(id, name)| json!({"id": id, "name": name}))
}

/// The books of `data/sample_books.sql`.
pub fn sample_books() -> [Value; 3] {
    [
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
    unknown_and_malformed(service, &format!("GET {path}"), "").await
}

/// An id that is not there is 404, and one that is not a number of 64 bits is 400.
async fn unknown_and_malformed(service: &Service, request: &str, body: &str) -> Outcome {
    for (status, ids) in [(404, "99 0 -1 9223372036854775807"), (400, MALFORMED_IDS)] {
        for id in ids.split_whitespace() {
            let reply = ask(service, &format!("{request}/{id}"), body).await?;
            expect_problem(&reply, status)?;
        }
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
        let mut query = format!("limit={limit}");
        loop {
            let due = first(left, limit);
            let page = service.get(&format!("{path}?{query}")).await?;
            page.expect_json(200, &json!(due))?;
            let Some(last) = due.last() else { break };
            query = format!("after={}&limit={limit}", last["id"]);
            left = &left[due.len()..];
        }
    }
    // A number that is not an id of a row, before and behind all of them.
    for (after, due) in [(i64::MIN, first(expected, 3)), (i64::MAX, &[])] {
        let path = format!("{path}?after={after}&limit=3");
        service.get(&path).await?.expect_json(200, &json!(due))?;
    }
    Ok(())
}

fn first(values: &[Value], count: usize) -> &[Value] {
    &values[..values.len().min(count)]
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
    let whole = service.get(&format!("{path}?limit={limit}")).await?;
    whole.expect_json(200, &json!(first(expected, limit)))?;
    let id = |index: usize| expected[index]["id"].as_i64().or_fail("the id of a row");
    // Among them the last one that the client has, after which the next page begins.
    for gone in [0, 2, limit - 1] {
        remove(id(gone)?).await?;
    }
    let after = id(limit - 1)?;
    let next = format!("{path}?after={after}&limit={limit}");
    let reply = service.get(&next).await?;
    let asked = format!(
        "GET {next}\n(the first page ended with id {after}; it and 2 others of that page are removed now)"
    );
    reply.expect_status(200)?;
    let due = json!(first(&expected[limit..], limit));
    equal_json(asked, &due, &reply.json()?)
}

/// A `limit` that is not from 1 to 100, and an `after` that is not a number, are 400;
/// so is one that is given twice.
pub async fn page_refusals(service: &Service, path: &str) -> Outcome {
    let queries = "limit=0 limit=-1 limit=101 limit=9223372036854775807 limit=9223372036854775808
        limit=ten limit=1.5 limit= limit=5&limit=5
        after=x after=1.5 after=9223372036854775808 after=1&after=2 after=1&limit=0";
    paths_400(service, &format!("{path}?{{}}"), queries).await
}

// ---- authors

/// `POST /author`: 201, the author with a new id, and `Location`, where it is then.
pub async fn new_authors(service: &Service) -> Outcome {
    let long = "é".repeat(200);
    let unusual = "'; DROP TABLE author; --";
    let mut highest = 0;
    for name in ["Ada", "Zoë \"Z\" \\ O'Neil", "ada", unusual, &long] {
        highest = stored(service, "/author", &json!({"name": name}), highest).await?;
    }
    Ok(())
}

/// `POST path` with this row is 201, and `Location` is where it is then. Returns its id,
/// which is greater than `highest`.
async fn stored(service: &Service, path: &str, row: &Value, highest: i64) -> Result<i64, Failure> {
    let reply = service.post_json(path, row).await?;
    created(service, &reply, path, row, highest).await
}

/// The reply is 201 with `expected` and an id, which is where `Location` says.
async fn created(
    service: &Service,
    reply: &Reply,
    path: &str,
    expected: &Value,
    highest: i64,
) -> Result<i64, Failure> {
    reply.expect_status(201)?;
    expect_content_type(reply, "application/json")?;
    let row = reply.json()?;
    let Some(id) = row["id"].as_i64() else {
        return Err(reply.failure("an object with an integer `id`"));
    };
    let expected = with(expected, &json!({"id": id}));
    equal_json(reply.asked(), &expected, &row)?;
    let path = format!("{path}/{id}");
    expect_location(reply, &path)?;
    service.get(&path).await?.expect_json(200, &expected)?;
    ensure(
        id > highest,
        reply.asked(),
        format_args!("an id greater than {highest}, the highest one before"),
        format_args!("id {id}"),
    )?;
    Ok(id)
}

/// `POST /author` refuses a taken name with 409, an empty or too long one with 422,
/// and a body that is not an author with 400.
pub async fn author_refusals(service: &Service) -> Outcome {
    let post = "POST /author";
    let long = "x".repeat(201);
    for (name, status) in [
        ("Jules Verne", 409),
        ("", 422),
        (" \t\n", 422),
        (&long, 422),
    ] {
        let reply = ask(service, post, json!({"name": name}).to_string()).await?;
        expect_field(&reply, status, "name")?;
    }
    let bodies = json!([{}, [], {"name": null}, {"name": 5}, {"name": ["Ada"]}]);
    bodies_400(service, post, bodies).await?;
    let twice = [(r#"{"name":"Ada","name":"Bea"}"#, "`name`")];
    misread(service, post, r#"{"name":"Ada"}"#, &twice).await
}

/// `DELETE /author/{id}`: 204 without a body, and then the author is gone; 409 for an
/// author who still has books, 404 for an unknown one.
pub async fn author_removed(service: &Service) -> Outcome {
    let ada = json!({"name": "Ada"});
    let id = stored(service, "/author", &ada, 3).await?;
    removed(service, &format!("/author/{id}")).await?;
    stored(service, "/author", &ada, id).await?;
    for author in sample_authors() {
        let path = format!("/author/{}", author["id"]);
        let reply = ask(service, &format!("DELETE {path}"), "").await?;
        expect_field(&reply, 409, "id")?;
        service.get(&path).await?.expect_json(200, &author)?;
    }
    unknown_and_malformed(service, "DELETE /author", "").await
}

/// `DELETE path` is 204 without a body, and after that there is nothing at `path`.
async fn removed(service: &Service, path: &str) -> Outcome {
    let delete = format!("DELETE {path}");
    let reply = ask(service, &delete, "").await?;
    reply.expect_status(204)?;
    let without_body = "status 204 without a body";
    ensure(reply.body.is_empty(), &delete, without_body, reply.text())?;
    expect_problem(&service.get(path).await?, 404)?;
    expect_problem(&ask(service, &delete, "").await?, 404)
}
