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
// END TODO(09.8)
