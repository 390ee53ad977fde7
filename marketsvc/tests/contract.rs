//! What the service answers, endpoint by endpoint. The checks are those of the steps.
//!
//! Each test runs on SQLite, and with the feature `postgres` on PostgreSQL. A new endpoint
//! needs a line in `ENDPOINTS` (`common/mod.rs`) and a test here, which is in the list below.
//! The last test says so for one that has none.

mod common;

use std::collections::BTreeSet;

use axum::Router;
use axum::http::Method;
use check::{Database, Failure, Outcome, Service, ensure, equal};
use common::{ENDPOINTS, Endpoint, On, Process};
use contract::{sample_authors, sample_books};
use openapi::{Document, Recorder};
use serde_json::json;

on_each_database! {
    welcome
    info
    customers
    orders_of_a_customer
    total_of_an_order
    totals_of_orders
    orders_between_dates
    new_orders
    authors
    authors_stored
    authors_removed
    books
    pages_while_books_are_removed
    books_stored
    books_replaced
    books_changed
    books_removed
    catalog
    catalog_separately
    the_format_of_lists_is_the_one_that_the_client_accepts
    unknown_paths_and_methods_are_problems
    hostile_input_does_no_harm
    every_endpoint_is_documented_and_has_a_test
    the_document_says_what_the_service_answers
}

async fn welcome(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::welcome(&service).await
}

async fn info(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::app_info(&service, env!("CARGO_PKG_VERSION")).await
}

async fn customers(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::customers_nested(&service, &database).await?;
    let (service, database) = on.fresh().await?;
    contract::customers_nested_ndjson(&service, &database).await
}

async fn orders_of_a_customer(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::orders_of_customer_nested(&service, &database).await?;
    contract::orders_of_unknown_customer_404(&service).await
}

async fn total_of_an_order(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::order_total(&service, &database).await?;
    contract::order_total_404_when_unknown(&service).await
}

async fn totals_of_orders(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::orders_total(&service, &database).await
}

async fn orders_between_dates(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = on.fresh().await?;
    contract::orders_between_dates_ndjson(&service, &database).await
}

async fn new_orders(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    contract::new_order_refusals(&service, &database).await?;
    contract::new_order_overflow_422(&service, &database).await
}

async fn authors(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::author_by_id(&service).await?;
    contract::page_refusals(&service, "/author").await?;
    contract::pages(&service, "/author", &sample_authors()).await
}

async fn authors_stored(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::author_refusals(&service).await?;
    // PostgreSQL could not store this character.
    let name = json!({"name": "a\u{0}b"});
    contract::expect_problem(&service.post_json("/author", &name).await?, 422)?;
    contract::new_authors(&service).await
}

async fn authors_removed(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::author_removed(&service).await
}

async fn books(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::book_by_id(&service).await?;
    contract::page_refusals(&service, "/book").await?;
    contract::pages(&service, "/book", &sample_books()).await
}

async fn pages_while_books_are_removed(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    let mut books = sample_books().to_vec();
    for number in 1..=12 {
        let book = contract::new_book(&format!("Book {number}"));
        let reply = service.post_json("/book", &book).await?;
        books.push(reply.expect_status(201)?.json()?);
    }
    contract::pages_while_removed(&service, "/book", &books, async |id| {
        let path = format!("/book/{id}");
        let reply = service.send(Method::DELETE, &path, &[], "").await?;
        reply.expect_status(204).map(drop)
    })
    .await
}

async fn books_stored(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    let before = database.snapshot().await?;
    contract::book_refusals(&service).await?;
    let book = contract::new_book("a\u{0}b");
    contract::expect_problem(&service.post_json("/book", &book).await?, 422)?;
    database
        .expect_unchanged("books that are refused", &before)
        .await?;
    contract::new_books(&service).await?;
    let (service, _database) = on.fresh().await?;
    contract::one_name_at_once(&service).await
}

async fn books_replaced(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::replace_refusals(&service).await?;
    contract::book_replaced(&service).await
}

async fn books_changed(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::change_refusals(&service).await?;
    contract::book_changed(&service).await?;
    let (service, _database) = on.fresh().await?;
    contract::book_cleared(&service).await?;
    let (service, _database) = on.fresh().await?;
    contract::changes_at_once(&service).await
}

async fn books_removed(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    contract::book_removed(&service).await?;
    let (service, _database) = on.fresh().await?;
    contract::empty_store(&service).await
}

async fn catalog(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    let before = database.snapshot().await?;
    contract::catalog_author_refused(&service, "/catalog").await?;
    contract::catalog_book_refused(&service, "/catalog").await?;
    database
        .expect_unchanged("entries that are refused", &before)
        .await?;
    contract::catalog_stored(&service, "/catalog").await
}

/// Here the author of a book that is refused stays.
async fn catalog_separately(on: On) -> Outcome {
    let (service, database) = on.fresh().await?;
    let before = database.snapshot().await?;
    contract::catalog_author_refused(&service, "/catalog/separately").await?;
    database
        .expect_unchanged("authors that are refused", &before)
        .await?;
    contract::catalog_book_refused(&service, "/catalog/separately").await?;
    let authors: String = database
        .one("SELECT json_group_array(name ORDER BY id) FROM author WHERE id > 3")
        .await?;
    equal(
        "authors afterwards",
        json!(contract::AUTHORS_OF_REFUSED_BOOKS).to_string(),
        authors,
    )?;
    let (service, _database) = on.fresh().await?;
    contract::catalog_stored(&service, "/catalog/separately").await
}

async fn the_format_of_lists_is_the_one_that_the_client_accepts(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    for path in [
        "/api/customers",
        "/api/orders/1",
        "/api/orders_between_dates/2024-03-31/2024-03-01",
    ] {
        contract::format_by_accept(&service, path).await?;
    }
    Ok(())
}

async fn unknown_paths_and_methods_are_problems(on: On) -> Outcome {
    let (service, _database) = on.fresh().await?;
    for path in ["/nowhere", "/api", "/book/1/pages", "/book/"] {
        contract::expect_problem(&service.get(path).await?, 404)?;
    }
    for path in ["/", "/api/customers", "/book/1", "/api/order_total/1"] {
        let reply = service.send(Method::POST, path, &[], "").await?;
        contract::expect_problem(&reply, 405)?;
    }
    Ok(())
}

/// Over the real program, which also decides what it takes for HTTP.
async fn hostile_input_does_no_harm(on: On) -> Outcome {
    let database = Database::sample().await?;
    let process = match on {
        On::Sqlite => Process::quiet(&database.url()).await?,
        #[cfg(feature = "postgres")]
        On::Postgres(server) => {
            let url = common::postgres::new_database(server).await?;
            let process = Process::quiet(&url).await?;
            let before = common::postgres::rows_of_postgres(&url).await?;
            // It looks at this database, too, which nobody changes.
            contract::hostile_input(&process.service, &database).await?;
            let after = common::postgres::rows_of_postgres(&url).await?;
            return check::equal_json("all rows afterwards", &before, &after);
        }
    };
    contract::hostile_input(&process.service, &database).await
}

// ---- every endpoint

/// Paths that are not part of the API, so its document does not have them: the pages that
/// show it, and what monitors call.
const UNDOCUMENTED: [&str; 7] = [
    "/api-docs/openapi.json",
    "/docs",
    "/docs/",
    "/docs/{*rest}",
    "/healthz",
    "/metrics",
    "/readyz",
];

/// How an endpoint gets into the document.
const REGISTER: &str = "give its handler `#[utoipa::path(…)]` and register it with \
    `.routes(routes!(…))`, not with `.route(…)`; marketsvc/src/customers shows how";

async fn every_endpoint_is_documented_and_has_a_test(on: On) -> Outcome {
    let (app, _database) = on.app().await?;
    let routes = routes(&app);
    let service = Service::start(app);
    let documented = documented(&service).await?;
    let mut missing = routes_without_document(&routes, &documented);
    missing.extend(operations_without_test(&documented));
    missing.extend(
        ENDPOINTS
            .iter()
            .filter_map(|endpoint| wrong(endpoint, &documented)),
    );
    assert!(missing.is_empty(), "\n\n{}\n", missing.join("\n\n"));
    for endpoint in ENDPOINTS {
        endpoint.send(&service).await?;
        expect_methods(&service, endpoint, &documented).await?;
    }
    Ok(())
}

/// The operations of the document: `GET /book/{id}`.
async fn documented(service: &Service) -> Result<BTreeSet<String>, Failure> {
    let reply = service.get("/api-docs/openapi.json").await?;
    let document = reply.expect_status(200)?.json()?;
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flat_map(|item| item.keys());
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    Ok(operations.collect())
}

/// The paths of all routes. axum has no list of them, but it shows them for debugging, and
/// the fallback among them.
fn routes(app: &Router) -> BTreeSet<String> {
    let shown = format!("{app:?}");
    let paths = shown
        .split('"')
        .filter(|text| text.starts_with('/') && !text.contains("__private"));
    paths.map(str::to_owned).collect()
}

fn routes_without_document(
    routes: &BTreeSet<String>,
    documented: &BTreeSet<String>,
) -> Vec<String> {
    let known: BTreeSet<_> = documented
        .iter()
        .filter_map(|operation| operation.split(' ').nth(1))
        .chain(UNDOCUMENTED)
        .collect();
    // Otherwise axum shows its routes in another form now, and `routes` finds none.
    assert!(
        known.iter().all(|path| routes.contains(*path)),
        "{known:?} in {routes:?}"
    );
    routes
        .iter()
        .filter(|path| !known.contains(&***path))
        .map(|path| format!("{path} is a route, but not in the document of the API: {REGISTER}"))
        .collect()
}

fn operations_without_test(documented: &BTreeSet<String>) -> impl Iterator<Item = String> {
    documented
        .iter()
        .filter(|operation| !ENDPOINTS.iter().any(|row| row.operation == **operation))
        .map(|operation| {
            format!(
                "{operation} has no test:\n\
                 - add a line to ENDPOINTS in marketsvc/tests/common/mod.rs:\n      \
                   Endpoint::new(\"{operation}\", \"PATH OF A REQUEST\", \"ITS JSON\", 200, \"NAME\"),\n\
                 - add a test `async fn NAME(on: On) -> Outcome` to marketsvc/tests/contract.rs, which \
                 says what the endpoint answers, and NAME to its list of tests"
            )
        })
}

/// What is wrong with a line of [`ENDPOINTS`].
fn wrong(endpoint: &Endpoint, documented: &BTreeSet<String>) -> Option<String> {
    let Endpoint {
        operation, test, ..
    } = endpoint;
    let head = format!("\nasync fn {test}(on: On) ");
    if !documented.contains(*operation) {
        return Some(format!(
            "{operation} is in ENDPOINTS (marketsvc/tests/common/mod.rs), but not in the document \
             of the API: {REGISTER}"
        ));
    }
    (!include_str!("contract.rs").contains(&head)).then(|| {
        format!(
            "{operation} names the test `{test}` in ENDPOINTS (marketsvc/tests/common/mod.rs), \
             but marketsvc/tests/contract.rs has no such test: add `async fn {test}(on: On) -> \
             Outcome` there, which says what the endpoint answers, and {test} to its list of tests"
        )
    })
}

/// The document is valid, and each answer to a request of [`ENDPOINTS`], and to the example
/// that the document has of it, is one that it describes.
async fn the_document_says_what_the_service_answers(on: On) -> Outcome {
    let (app, _database) = on.app().await?;
    let recorder = Recorder::default();
    let service = Service::start(recorder.around(app));
    let document = Document::read(&service).await?;
    document.expect_well_formed()?;
    document.expect_unique_ids()?;
    for endpoint in ENDPOINTS {
        endpoint.send(&service).await?;
    }
    for operation in document.operations() {
        document.example(&operation)?.send(&service).await?;
    }
    let mut answers = recorder.answers();
    answers.retain(|answer| answer.path != openapi::DOCUMENT);
    answers
        .iter()
        .try_for_each(|answer| document.expect_answer(answer))
}

/// Fails unless each method that the path of this endpoint has is in the document.
async fn expect_methods(
    service: &Service,
    endpoint: &Endpoint,
    documented: &BTreeSet<String>,
) -> Outcome {
    let path = endpoint.operation.split(' ').nth(1).unwrap_or_default();
    let reply = service
        .send(Method::OPTIONS, endpoint.path, &[], "")
        .await?;
    let methods = reply
        .expect_status(405)?
        .header("allow")
        .unwrap_or_default();
    // HEAD is GET without the body.
    let unknown = methods
        .split(',')
        .find(|method| *method != "HEAD" && !documented.contains(&format!("{method} {path}")));
    ensure(
        unknown.is_none(),
        format!("{} {path}", unknown.unwrap_or_default()),
        "in the document of the API",
        format!("not there: {REGISTER}"),
    )
}
