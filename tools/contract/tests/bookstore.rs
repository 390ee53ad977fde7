//! The bookstore in memory: what the right one answers, and that each fault shows.

use axum::http::Method;
use check::{Failure, Service, ensure};
use contract::bookstore::{Fault, bookstore};

/// Requests that each fault answers in another way than the right bookstore, whose
/// answers stand beside them. `12` is the id of nothing.
const DIALOGUE: &[(&str, &str, &str)] = &[
    (
        "POST /author",
        r#"{"name":"Ada"}"#,
        r#"201 /author/1 {"id":1,"name":"Ada"}"#,
    ),
    ("POST /author", r#"{"name":"Ada"}"#, "409 name"),
    ("POST /author", r#"{"name":" "}"#, "422 name"),
    ("POST /author", r#"{"name":"Bea","name":"Bea"}"#, "400"),
    ("GET /author/12", "", "404"),
    ("GET /author/x", "", "400"),
    (
        "POST /book",
        r#"{"book_name":"One","author_id":1,"price":10.5,"description":"d","pages":7}"#,
        r#"201 /book/1 {"author_id":1,"book_name":"One","description":"d","genre":null,"id":1,"language":null,"pages":7,"price":10.5,"year_of_publication":null}"#,
    ),
    (
        "POST /book",
        r#"{"book_name":"One","author_id":1,"price":1}"#,
        "409 book_name",
    ),
    (
        "POST /book",
        r#"{"book_name":"Two","author_id":12,"price":1}"#,
        "422 author_id",
    ),
    (
        "POST /book",
        r#"{"book_name":"Two","author_id":1,"price":0.001}"#,
        "422 price",
    ),
    (
        "POST /book",
        r#"{"book_name":"Two","author_id":1.0,"price":1}"#,
        "400",
    ),
    (
        "POST /book",
        r#"{"book_name":"Two","author_id":1,"price":2}"#,
        r#"201 /book/2 {"author_id":1,"book_name":"Two","description":null,"genre":null,"id":2,"language":null,"pages":null,"price":2.0,"year_of_publication":null}"#,
    ),
    (
        "POST /book",
        r#"{"book_name":"Three","author_id":1,"price":3}"#,
        r#"201 /book/3 {"author_id":1,"book_name":"Three","description":null,"genre":null,"id":3,"language":null,"pages":null,"price":3.0,"year_of_publication":null}"#,
    ),
    (
        "GET /book?after=2&limit=1",
        "",
        r#"200 [{"author_id":1,"book_name":"Three","description":null,"genre":null,"id":3,"language":null,"pages":null,"price":3.0,"year_of_publication":null}]"#,
    ),
    (
        "GET /book?after=1&limit=1",
        "",
        r#"200 [{"author_id":1,"book_name":"Two","description":null,"genre":null,"id":2,"language":null,"pages":null,"price":2.0,"year_of_publication":null}]"#,
    ),
    ("DELETE /book/2", "", "204"),
    ("DELETE /book/3", "", "204"),
    ("GET /book?after=1", "", "200 []"),
    ("GET /book?limit=0", "", "400"),
    ("GET /book/12", "", "404"),
    ("PATCH /book/12", "{}", "404"),
    ("PATCH /book/1", r#"{"price":null}"#, "400"),
    (
        "PATCH /book/1",
        "{}",
        r#"200 {"author_id":1,"book_name":"One","description":"d","genre":null,"id":1,"language":null,"pages":7,"price":10.5,"year_of_publication":null}"#,
    ),
    (
        "PATCH /book/1",
        r#"{"pages":null}"#,
        r#"200 {"author_id":1,"book_name":"One","description":"d","genre":null,"id":1,"language":null,"pages":null,"price":10.5,"year_of_publication":null}"#,
    ),
    (
        "PUT /book/1",
        r#"{"book_name":"One","author_id":1,"price":1}"#,
        r#"200 {"author_id":1,"book_name":"One","description":null,"genre":null,"id":1,"language":null,"pages":null,"price":1.0,"year_of_publication":null}"#,
    ),
    ("DELETE /author/1", "", "409 id"),
    ("DELETE /book/1", "", "204"),
    ("GET /book/1", "", "404"),
    ("DELETE /author/1", "", "204"),
];

/// The requests of which the answer is not the one of the right bookstore, with these
/// answers.
async fn differing(fault: Option<Fault>) -> Result<Vec<(usize, String)>, Failure> {
    let service = Service::start(bookstore(fault));
    let mut found = Vec::new();
    for (index, (request, body, expected)) in DIALOGUE.iter().enumerate() {
        let (method, path) = request.split_once(' ').unwrap_or_default();
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let json = [("content-type", "application/json")];
        let headers = if body.is_empty() { &[][..] } else { &json };
        let reply = service.send(method, path, headers, *body).await?;
        let mut said = vec![reply.status.to_string()];
        said.extend(reply.header("location").map(str::to_owned));
        if reply.status >= 400 {
            contract::expect_problem(&reply, reply.status)?;
            let problem = reply.json()?;
            said.extend(problem["errors"][0]["field"].as_str().map(str::to_owned));
        } else if !reply.body.is_empty() {
            said.push(reply.json()?.to_string());
        }
        let said = said.join(" ");
        if said != *expected {
            ensure(fault.is_some(), reply.asked(), expected, &said)?;
            found.push((index, said));
        }
    }
    Ok(found)
}

#[tokio::test]
async fn the_right_bookstore_answers_as_the_contract_says() -> Result<(), Failure> {
    differing(None).await.map(drop)
}

#[tokio::test]
async fn each_fault_shows_in_its_own_way() -> Result<(), Failure> {
    let mut all = Vec::new();
    for fault in Fault::ALL {
        let found = differing(Some(fault)).await?;
        assert!(
            !found.is_empty() && !all.contains(&found),
            "{fault:?} {found:?}"
        );
        all.push(found);
    }
    Ok(())
}
