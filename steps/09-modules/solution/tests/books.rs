//! Tests of a bookstore over HTTP. `MARKETSVC_URL` holds the base URL of the service
//! that they test; without it they test the one that `./run.sh run` starts on this
//! machine.
//!
//! That service may have authors and books already, and several tests run at the same
//! time. So each test stores its own author and its own books, and changes no others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

/// Sends a request, with a body unless it is `null`. The path begins with `/`.
async fn send(method: Method, path: &str, body: Value) -> Response {
    let base = std::env::var("MARKETSVC_URL");
    let base = base.unwrap_or_else(|_| "http://127.0.0.1:9090".to_owned());
    let mut request = Client::new().request(method, base + path);
    if !body.is_null() {
        request = request.json(&body);
    }
    request
        .send()
        .await
        .expect("no answer: does the service run?")
}

/// Returns a name that no author and no book has yet.
fn new_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("Name {}-{count}", now.as_nanos())
}

/// Stores an author with a new name, and returns the author's id.
async fn new_author() -> i64 {
    let response = send(Method::POST, "/author", json!({ "name": new_name() })).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let author: Value = response.json().await.expect("the author as JSON");
    author["id"].as_i64().expect("the author's id")
}

/// Stores a book with a new name and a value in most fields, and returns the book.
async fn new_book() -> Value {
    let book = json!({
        "book_name": new_name(),
        "author_id": new_author().await,
        "price": 10.5,
        "description": "a novel",
        "pages": 432,
    });
    let response = send(Method::POST, "/book", book).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    response.json().await.expect("the book as JSON")
}

#[tokio::test]
async fn a_new_book_can_be_read() {
    let book = new_book().await;
    let response = send(Method::GET, &format!("/book/{}", book["id"]), Value::Null).await;
    assert_eq!(response.status(), StatusCode::OK);
    let read: Value = response.json().await.expect("the book as JSON");
    assert_eq!(read, book);
}

// TODO(09.8): test what else a bookstore must do, so that each wrong one fails a test
/// Returns the path of a book.
fn path_of(book: &Value) -> String {
    format!("/book/{}", book["id"])
}

/// Reads a book again.
async fn read(book: &Value) -> Value {
    let response = send(Method::GET, &path_of(book), Value::Null).await;
    response.json().await.expect("the book as JSON")
}

/// Stores a book, removes it again, and returns its path.
async fn path_without_book() -> String {
    let path = path_of(&new_book().await);
    let response = send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    path
}

/// Checks that a response refuses the value of this field.
async fn refused(response: Response, status: StatusCode, field: &str) {
    assert_eq!(response.status(), status);
    let problem: Value = response.json().await.expect("a problem as JSON");
    assert_eq!(problem["errors"][0]["field"], field);
}

#[tokio::test]
async fn a_removed_book_is_not_found() {
    let path = path_without_book().await;
    for (method, body) in [
        (Method::GET, Value::Null),
        (Method::PUT, new_book().await),
        (Method::PATCH, json!({ "pages": 1 })),
        (Method::DELETE, Value::Null),
    ] {
        let response = send(method, &path, body).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_location_of_a_new_book_leads_to_it() {
    let author = new_author().await;
    let book = json!({ "book_name": new_name(), "author_id": author, "price": 1 });
    let response = send(Method::POST, "/book", book).await;
    let location = response.headers()["location"].to_str().expect("a path");
    let found = send(Method::GET, location, Value::Null).await;
    assert_eq!(found.status(), StatusCode::OK);
    let found: Value = found.json().await.expect("the book as JSON");
    let stored: Value = response.json().await.expect("the book as JSON");
    assert_eq!(found, stored);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let (book, other) = (new_book().await, new_book().await);
    let change = json!({ "book_name": book["book_name"] });
    for (method, path, body) in [
        (Method::POST, "/book", &book),
        (Method::PUT, &path_of(&other), &book),
        (Method::PATCH, &path_of(&other), &change),
    ] {
        let response = send(method, path, body.clone()).await;
        refused(response, StatusCode::CONFLICT, "book_name").await;
    }
    assert_eq!(read(&other).await, other);
}

#[tokio::test]
async fn a_name_of_an_author_is_taken_once() {
    let author = json!({ "name": new_name() });
    let response = send(Method::POST, "/author", author.clone()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let response = send(Method::POST, "/author", author).await;
    refused(response, StatusCode::CONFLICT, "name").await;
}

#[tokio::test]
async fn an_author_who_does_not_exist_is_refused() {
    let book = json!({ "book_name": new_name(), "author_id": i64::MAX, "price": 1 });
    let response = send(Method::POST, "/book", book).await;
    refused(response, StatusCode::UNPROCESSABLE_ENTITY, "author_id").await;
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_mention() {
    let mut book = new_book().await;
    let response = send(Method::PATCH, &path_of(&book), json!({ "price": 12.25 })).await;
    assert_eq!(response.status(), StatusCode::OK);
    book["price"] = json!(12.25);
    assert_eq!(read(&book).await, book);
}

#[tokio::test]
async fn null_clears_a_field() {
    let mut book = new_book().await;
    let change = json!({ "description": null });
    let response = send(Method::PATCH, &path_of(&book), change).await;
    assert_eq!(response.status(), StatusCode::OK);
    book["description"] = Value::Null;
    assert_eq!(read(&book).await, book);
}

#[tokio::test]
async fn a_page_has_the_next_books_in_order() {
    let (first, second) = (new_book().await, new_book().await);
    new_book().await;
    let path = format!("/book?after={}&limit=2", first["id"]);
    let response = send(Method::GET, &path, Value::Null).await;
    let page: Vec<Value> = response.json().await.expect("books as JSON");
    let ids: Vec<_> = page.iter().map(|book| book["id"].as_i64()).collect();
    assert_eq!(ids.len(), 2);
    // Another test may have stored a book in between.
    assert!(first["id"].as_i64() < ids[0] && ids[0] <= second["id"].as_i64());
    assert!(ids[0] < ids[1]);
}

#[tokio::test]
async fn an_author_with_books_stays() {
    let book = new_book().await;
    let path = format!("/author/{}", book["author_id"]);
    let response = send(Method::DELETE, &path, Value::Null).await;
    refused(response, StatusCode::CONFLICT, "id").await;
    let response = send(Method::GET, &path, Value::Null).await;
    assert_eq!(response.status(), StatusCode::OK);
}
// END TODO(09.8)
