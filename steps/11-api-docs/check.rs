//! What step 11 asks for: a document of the API that says what the service does, and a
//! page that shows it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::Method;
use check::{Database, Failure, OrFail, Outcome, Reply, Service, Suite, ensure, equal};
use openapi::{Answer, DOCUMENT, Document, Operation, Recorder, pattern};
use serde_json::{Value, json};
use step11::app;
use step11::db::base::{Engine, EngineConfig};

/// All endpoints of the contract, and the statuses that it knows of each. Those that use
/// the database may also answer 500 and 503.
const ENDPOINTS: [(&str, &str, &[u16]); 20] = [
    ("GET", "/", &[200]),
    ("GET", "/app/info", &[200]),
    ("GET", "/api/customers", &[200, 500, 503]),
    ("GET", "/api/orders/{id}", &[200, 400, 404, 500, 503]),
    ("GET", "/api/order_total/{id}", &[200, 400, 404, 500, 503]),
    ("GET", "/api/orders_total", &[200, 400, 500, 503]),
    (
        "GET",
        "/api/orders_between_dates/{before}/{after}",
        &[200, 400, 500, 503],
    ),
    ("POST", "/api/add_new_order", &[201, 400, 422, 500, 503]),
    ("GET", "/author", &[200, 400, 500, 503]),
    ("POST", "/author", &[201, 400, 409, 422, 500, 503]),
    ("GET", "/author/{id}", &[200, 400, 404, 500, 503]),
    ("DELETE", "/author/{id}", &[204, 400, 404, 409, 500, 503]),
    ("GET", "/book", &[200, 400, 500, 503]),
    ("POST", "/book", &[201, 400, 409, 422, 500, 503]),
    ("GET", "/book/{id}", &[200, 400, 404, 500, 503]),
    ("PUT", "/book/{id}", &[200, 400, 404, 409, 422, 500, 503]),
    ("PATCH", "/book/{id}", &[200, 400, 404, 409, 422, 500, 503]),
    ("DELETE", "/book/{id}", &[204, 400, 404, 500, 503]),
    ("POST", "/catalog", &[201, 400, 409, 422, 500, 503]),
    (
        "POST",
        "/catalog/separately",
        &[201, 400, 409, 422, 500, 503],
    ),
];

pub fn main() -> ExitCode {
    Suite::new("11-api-docs", env!("CARGO_MANIFEST_DIR"))
        .check("11.1", "the service serves the document", document)
        .check(
            "11.1",
            "the service serves the page and all files that it loads",
            page,
        )
        .check("11.1", "the page asks no other host", page_stays_home)
        .check(
            "11.2",
            "every endpoint is in the document, and none besides",
            endpoints,
        )
        .check(
            "11.2",
            "the document has every status of every endpoint, and none besides",
            statuses,
        )
        .check("11.2", "amounts of money are numbers", money)
        .check(
            "11.2",
            "successful answers have the type, the schema and the headers of the document",
            successes,
        )
        .check(
            "11.2",
            "every parameter has an example that the service accepts",
            parameters,
        )
        .check(
            "11.3",
            "no two operations of the document have the same id",
            unique_ids,
        )
        .check(
            "11.4",
            "refusals have the type and the schema of the document",
            refusals,
        )
        .check(
            "11.4",
            "a busy and a failing service answer as the document says",
            failures,
        )
        .check(
            "11.4",
            "the document is well formed, and each reference leads somewhere",
            well_formed,
        )
        .check(
            "11.5",
            "every body has an example, and the service accepts it",
            bodies,
        )
        .check(
            "11.5",
            "the service accepts a value exactly if it fits the schema",
            limits,
        )
        .check("11.6", "lists of lines are described as text", lines)
        .check(
            "11.7",
            "an array in place of an object is refused",
            arrays_refused,
        )
        .check("11.7", "all other answers are as before", as_before)
        .run()
}

fn service(database: &Database) -> Result<Service, Failure> {
    service_with(database, EngineConfig::default())
}

fn service_with(database: &Database, config: EngineConfig) -> Result<Service, Failure> {
    let engine = Engine::new(&database.url(), config).or_fail("Engine::new")?;
    Ok(Service::start(app::app(engine)))
}

/// The document of a service over the sample.
async fn read() -> Result<Document, Failure> {
    let database = Database::sample().await?;
    Document::read(&service(&database)?).await
}

// 11.1: the document and the page

async fn document() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let reply = service.get(DOCUMENT).await?;
    reply.expect_status(200)?;
    let media = reply.header("content-type").unwrap_or("none");
    ensure(
        media.starts_with("application/json"),
        reply.asked(),
        "content type application/json",
        media,
    )?;
    Document::read(&service).await.map(drop)
}

/// Returns the page. `/docs` may redirect to it.
async fn html(service: &Service) -> Result<Reply, Failure> {
    let mut reply = service.get("/docs").await?;
    if (300..400).contains(&reply.status) {
        let location = reply.header("location").unwrap_or_default();
        ensure(
            location.starts_with("/docs"),
            reply.asked(),
            "the page, or a redirect to a path below /docs",
            location,
        )?;
        reply = service.get(location).await?;
    }
    reply.expect_status(200)?;
    let media = reply.header("content-type").unwrap_or("none");
    ensure(
        media.starts_with("text/html"),
        reply.asked(),
        "content type text/html",
        media,
    )?;
    Ok(reply)
}

/// Returns the values of the attributes `src` and `href`.
fn links(html: &str) -> Vec<String> {
    ["src=", "href="]
        .into_iter()
        .flat_map(|name| html.split(name).skip(1))
        .filter_map(|rest| {
            let quote = rest.chars().next().filter(|quote| "\"'".contains(*quote))?;
            Some(rest[1..].split(quote).next()?.to_owned())
        })
        .filter(|link| !link.starts_with("data:") && !link.starts_with('#'))
        .collect()
}

/// Returns whether the name of this file ends so.
fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|of| of == extension)
}

/// Returns the files that the page names, by their path.
async fn files(service: &Service, page: &Reply) -> Result<Vec<(String, Reply)>, Failure> {
    let mut files = Vec::new();
    for link in links(&page.text()) {
        ensure(
            !link.contains("//"),
            page.asked(),
            "links to files of this service",
            &link,
        )?;
        let path = match link.strip_prefix("./") {
            Some(rest) => format!("/docs/{rest}"),
            None if link.starts_with('/') => link,
            None => format!("/docs/{link}"),
        };
        let file = service.get(&path).await?;
        file.expect_status(200)?;
        files.push((path, file));
    }
    Ok(files)
}

async fn page() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let page = html(&service).await?;
    let files = files(&service, &page).await?;
    let scripts = files.iter().filter(|(path, _)| is_a(path, "js")).count();
    ensure(
        scripts > 0 || page.text().contains("<script"),
        page.asked(),
        "a page with a script",
        page.text(),
    )?;
    let settings = files.iter().map(|(_, file)| file.text());
    for text in settings.filter(|text| text.len() < 20_000) {
        let methods = text.split_once("supportedSubmitMethods");
        let methods = methods.and_then(|(_, rest)| rest.split_once(']'));
        ensure(
            methods.is_none_or(|(methods, _)| methods.contains("post")),
            page.asked(),
            "a page that can send each request",
            &text,
        )?;
    }
    let mut texts = files.iter().map(|(_, file)| file.text());
    ensure(
        page.text().contains(DOCUMENT) || texts.any(|text| text.contains(DOCUMENT)),
        page.asked(),
        format_args!("a page that loads {DOCUMENT}"),
        "neither the page nor its files name it",
    )
}

async fn page_stays_home() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let page = html(&service).await?;
    let mut texts = vec![("/docs/".to_owned(), page.text())];
    for (path, file) in files(&service, &page).await? {
        // The program of the page itself has many URLs, which it only shows.
        if file.text().len() < 20_000 && !is_a(&path, "css") {
            texts.push((path, file.text()));
        }
    }
    for (path, text) in &texts {
        ensure(
            !text.contains("https://") && !text.contains("http://"),
            format_args!("GET {path}"),
            "a page and a configuration that name no other host",
            text,
        )?;
    }
    let off = texts.iter().any(|(_, text)| {
        text.split("validatorUrl").skip(1).any(|rest| {
            let value = rest.trim_start_matches(['"', '\'', ':', ' ']);
            value.starts_with("none") || value.starts_with("null")
        })
    });
    ensure(
        off,
        "the configuration of the page at /docs",
        "a `validatorUrl` of \"none\": by default the page sends the document to \
         validator.swagger.io",
        "the default",
    )
}

// 11.2: the endpoints

async fn endpoints() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let document = Document::read(&service).await?;
    for (method, path, _) in ENDPOINTS {
        let found = document.operations().iter().any(|operation| {
            operation.method.as_str() == method && pattern(operation.path) == pattern(path)
        });
        ensure(
            found,
            format_args!("the document at {DOCUMENT}"),
            format_args!("the endpoint {method} {path}"),
            "the document does not have it",
        )?;
    }
    for operation in document.operations() {
        let known = ENDPOINTS.iter().any(|(method, path, _)| {
            operation.method.as_str() == *method && pattern(operation.path) == pattern(path)
        });
        ensure(
            known,
            operation.said(),
            "only endpoints that the service has",
            "the service does not have this one",
        )?;
        // The answer to a method that no endpoint has names those that there are.
        let path = pattern(operation.path).replace("{}", "1");
        let reply = service.send(Method::TRACE, &path, &[], "").await?;
        let allowed = reply.header("allow").unwrap_or_default().to_owned();
        ensure(
            allowed
                .split(',')
                .any(|method| method.trim() == operation.method.as_str()),
            operation.said(),
            format_args!("a method that the service has at {path}: {allowed}"),
            &operation.method,
        )?;
    }
    Ok(())
}

async fn statuses() -> Outcome {
    let document = read().await?;
    for (method, path, statuses) in ENDPOINTS {
        let method: Method = method.parse().or_fail("a method")?;
        let operation = document.operation(&method, &pattern(path).replace("{}", "1"))?;
        let mut documented: Vec<&str> = operation.json["responses"]
            .as_object()
            .map_or_else(Vec::new, |responses| {
                responses.keys().map(String::as_str).collect()
            });
        documented.sort_unstable();
        let expected: Vec<_> = statuses.iter().map(u16::to_string).collect();
        ensure(
            documented == expected,
            operation.said(),
            format_args!("responses with these statuses: {expected:?}"),
            format_args!("{documented:?}"),
        )?;
    }
    Ok(())
}

/// What [`ask_everything`] has returned: three checks need it.
static EVERYTHING: Mutex<Option<(Vec<Answer>, Outcome)>> = Mutex::new(None);

/// Asks the service everything that the contract knows. Returns its answers, and whether
/// all of them are right.
async fn ask_everything() -> Result<(Vec<Answer>, Outcome), Failure> {
    let known = EVERYTHING.lock().ok().and_then(|known| known.clone());
    if let Some(known) = known {
        return Ok(known);
    }
    let recorder = Recorder::default();
    let mut outcome = Ok(());
    macro_rules! ask {
        ($service:ident, $database:ident: $($ask:expr;)*) => {$(
            let $database = Database::sample().await?;
            let engine = Engine::new(&$database.url(), EngineConfig::default())
                .or_fail("Engine::new")?;
            let $service = Service::start(recorder.around(app::app(engine)));
            outcome = outcome.and($ask.await);
        )*};
    }
    ask! { service, database:
        contract::welcome(&service);
        contract::app_info(&service, env!("CARGO_PKG_VERSION"));
        contract::customers_nested(&service, &database);
        contract::orders_of_customer_nested(&service, &database);
        contract::orders_of_unknown_customer_404(&service);
        contract::order_total(&service, &database);
        contract::order_total_404_when_unknown(&service);
        contract::orders_total(&service, &database);
        contract::orders_between_dates(&service, &database);
        contract::new_order_stored(&service, &database);
        contract::new_order_refusals(&service, &database);
        contract::author_by_id(&service);
        contract::book_by_id(&service);
        contract::pages(&service, "/book", &contract::sample_books());
        contract::pages(&service, "/author", &contract::sample_authors());
        contract::page_refusals(&service, "/book");
        contract::page_refusals(&service, "/author");
        contract::new_authors(&service);
        contract::author_refusals(&service);
        contract::author_removed(&service);
        contract::new_books(&service);
        contract::book_refusals(&service);
        contract::book_replaced(&service);
        contract::replace_refusals(&service);
        contract::book_changed(&service);
        contract::book_cleared(&service);
        contract::change_refusals(&service);
        contract::book_removed(&service);
        contract::catalog_stored(&service, "/catalog");
        contract::catalog_author_refused(&service, "/catalog");
        contract::catalog_book_refused(&service, "/catalog");
        contract::catalog_stored(&service, "/catalog/separately");
        contract::catalog_author_refused(&service, "/catalog/separately");
        contract::catalog_book_refused(&service, "/catalog/separately");
        amounts(&service, &database);
    }
    let everything = (recorder.answers(), outcome);
    if let Ok(mut known) = EVERYTHING.lock() {
        *known = Some(everything.clone());
    }
    Ok(everything)
}

/// Asks for amounts of money at their limits. A book costs at most 1,000,000, but an item
/// and an order can cost more.
async fn amounts(service: &Service, database: &Database) -> Outcome {
    database
        .execute(
            "INSERT INTO item (id, name, price_cents) VALUES (5, 'Leaflet', 0), (6, 'Ship', 150000001);
             INSERT INTO orders (id, customer_id, order_time) VALUES
                 (4, 1, '2024-04-01 12:00:00'), (5, 1, '2024-04-02 12:00:00');
             INSERT INTO order_items (order_id, item_id, quantity) VALUES
                 (4, 5, 1), (5, 5, 1), (5, 6, 1000000)",
        )
        .await?;
    for path in [
        "/api/orders/1",
        "/api/order_total/4",
        "/api/order_total/5",
        "/api/orders_total?orders=4,5",
        "/api/orders_between_dates/2024-05-01/2024-04-01",
    ] {
        service.get(path).await?.expect_status(200)?;
    }
    for price in [0, 1_000_000] {
        let named = |name: &str| {
            let mut book = contract::new_book(&format!("{name} {price}"));
            book["price"] = json!(price);
            book
        };
        let entry = |name: &str| {
            let name = format!("{name} {price}");
            let mut entry = contract::new_entry(&name, &name);
            entry["book"]["price"] = json!(price);
            entry
        };
        for (method, path, body) in [
            (Method::POST, "/book", named("Stored")),
            (Method::PUT, "/book/1", named("Replaced")),
            (Method::PATCH, "/book/2", json!({"price": price})),
            (Method::POST, "/catalog", entry("Ada")),
            (Method::POST, "/catalog/separately", entry("Grace")),
            (Method::GET, "/book/1", Value::Null),
            (Method::GET, "/book", Value::Null),
        ] {
            let json = [("content-type", "application/json")];
            let status = if method == Method::POST { 201 } else { 200 };
            let reply = service.send(method, path, &json, body.to_string()).await?;
            reply.expect_status(status)?;
        }
    }
    Ok(())
}

async fn money() -> Outcome {
    let document = read().await?;
    let operation = document.operation(&Method::GET, "/api/orders_total")?;
    let schema = &operation.json["responses"]["200"]["content"]["application/json"]["schema"];
    document
        .fits(schema, &json!([10.5, null]))
        .map_err(|reason| {
            Failure::new(operation.said(), "a schema that [10.5, null] fits", reason)
        })?;
    let fits = document.fits(schema, &json!(["10.5"])).is_ok();
    equal(
        format_args!("{}: [\"10.5\"] fits the schema", operation.said()),
        false,
        fits,
    )
}

async fn as_before() -> Outcome {
    ask_everything().await?.1
}

async fn successes() -> Outcome {
    let document = read().await?;
    let (answers, _) = ask_everything().await?;
    answers
        .iter()
        .filter(|answer| answer.status < 400)
        .try_for_each(|answer| document.expect_answer(answer))
}

/// Sends the example of each operation of `some` to a service over a fresh sample.
async fn examples(some: impl Fn(&Operation) -> bool) -> Outcome {
    let document = read().await?;
    for operation in document.operations() {
        if !some(&operation) {
            continue;
        }
        let database = Database::sample().await?;
        if operation.method == Method::DELETE {
            // An author who can be removed.
            database
                .execute("INSERT INTO author (id, name) VALUES (4, 'Emily Dickinson')")
                .await?;
        }
        let recorder = Recorder::default();
        let engine =
            Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")?;
        let service = Service::start(recorder.around(app::app(engine)));
        let example = document.example(&operation)?;
        let reply = example.send(&service).await?;
        ensure(
            reply.status < 400,
            format_args!("{}, the example of {}", reply.asked(), operation.said()),
            "an example that the service accepts",
            format_args!("status {}: {}", reply.status, reply.text()),
        )?;
        for answer in recorder.answers() {
            document.expect_answer(&answer)?;
        }
    }
    Ok(())
}

async fn parameters() -> Outcome {
    examples(|operation| operation.json.get("requestBody").is_none()).await
}

async fn bodies() -> Outcome {
    let document = read().await?;
    for (method, path, _) in ENDPOINTS {
        if ["POST", "PUT", "PATCH"].contains(&method) {
            let method: Method = method.parse().or_fail("a method")?;
            let operation = document.operation(&method, &pattern(path).replace("{}", "1"))?;
            document.body_schema(&operation)?;
        }
    }
    examples(|operation| operation.json.get("requestBody").is_some()).await
}

// 11.3: the ids

async fn unique_ids() -> Outcome {
    let document = read().await?;
    // Without all endpoints, the ids are unique by chance.
    for path in ["/book", "/author"] {
        document.operation(&Method::GET, path)?;
    }
    for operation in document.operations() {
        let summary = operation.json["summary"].as_str().unwrap_or_default();
        ensure(
            !summary.is_empty(),
            operation.said(),
            "a summary: the first line of the handler's comment",
            operation.json,
        )?;
    }
    document.expect_unique_ids()
}

// 11.4: the problems

async fn refusals() -> Outcome {
    let document = read().await?;
    let (answers, _) = ask_everything().await?;
    answers
        .iter()
        .filter(|answer| answer.status >= 400)
        .try_for_each(|answer| document.expect_answer(answer))
}

async fn failures() -> Outcome {
    let document = read().await?;
    for operation in document.operations() {
        let headers = &operation.json["responses"]["503"]["headers"];
        for (name, header) in headers.as_object().into_iter().flatten() {
            if name.eq_ignore_ascii_case("retry-after") {
                equal(
                    format_args!("503 of {}, the type of {name}", operation.said()),
                    &json!("integer"),
                    &header["schema"]["type"],
                )?;
            }
        }
    }
    // Each operation is asked with its example; an answer without a database is 500,
    // and one without a free connection 503.
    for status in [503, 500] {
        let database = Database::sample().await?;
        let acquire_timeout = Duration::from_millis(if status == 503 { 10 } else { 5_000 });
        let config = EngineConfig {
            max_connections: 1,
            acquire_timeout,
            ..EngineConfig::default()
        };
        let recorder = Recorder::default();
        let engine = Engine::new(&database.url(), config).or_fail("Engine::new")?;
        let held = if status == 503 {
            // On a machine that is busy, opening it may take longer than the timeout.
            loop {
                match engine.pool().acquire().await {
                    Ok(connection) => break Some(connection),
                    Err(error) if error.to_string().contains("timed out") => {}
                    Err(error) => return Err(error).or_fail("a connection"),
                }
            }
        } else {
            for table in [
                "book",
                "author",
                "customer",
                "orders",
                "order_items",
                "item",
            ] {
                database
                    .execute(&format!("ALTER TABLE {table} RENAME TO {table}_gone"))
                    .await?;
            }
            None
        };
        let service = Service::start(recorder.around(app::app(engine)));
        for operation in document.operations() {
            let uses_database = operation.path != "/" && operation.path != "/app/info";
            // An example that is not there yet is another task's.
            let Ok(example) = document.example(&operation) else {
                continue;
            };
            let reply = example.send(&service).await?;
            if uses_database {
                reply.expect_status(status)?;
            }
        }
        drop(held);
        for answer in recorder.answers() {
            document.expect_answer(&answer)?;
        }
    }
    Ok(())
}

async fn well_formed() -> Outcome {
    read().await?.expect_well_formed()
}

// 11.5: the values

/// Values of a field, of which some are at a limit of the contract.
fn probes() -> Vec<(&'static str, Vec<Value>)> {
    let text = |longest: usize| {
        vec![
            json!("x"),
            json!(" x"),
            json!("x "),
            json!("x\nx"),
            json!("– 本 ß!"),
            json!(""),
            json!(" \t"),
            json!("\n"),
            json!("ä".repeat(longest)),
            json!("x".repeat(longest + 1)),
            Value::Null,
            json!(5),
        ]
    };
    let number = |least: i64, most: i64| {
        vec![
            json!(least),
            json!(least - 1),
            json!(most),
            json!(most + 1),
            Value::Null,
            json!("5"),
            json!(5.5),
        ]
    };
    vec![
        ("book_name", text(200)),
        ("description", text(10_000)),
        ("genre", text(100)),
        ("language", text(100)),
        ("year_of_publication", number(-3000, 3000)),
        ("pages", number(1, 100_000)),
        (
            "author_id",
            vec![
                json!(1),
                json!("1"),
                Value::Null,
                json!(1.5),
                json!(9_223_372_036_854_775_808.0),
            ],
        ),
        (
            "price",
            vec![
                json!(0),
                json!(0.29),
                json!(0.07),
                json!(1_000_000),
                json!(1_000_000.01),
                json!(-0.01),
                json!(0.005),
                json!("1"),
                Value::Null,
            ],
        ),
        (
            "quantity",
            vec![
                json!(1),
                json!(0),
                json!(1_000_000),
                json!(1_000_001),
                json!("1"),
            ],
        ),
        ("name", text(200)),
    ]
}

/// Bodies that differ in one field from `body`: it has another value, or is missing.
/// Each is named by this difference. All other names are new: a name that is taken would
/// be refused, whatever the value is.
fn changed(body: &Value) -> Vec<(String, Value)> {
    let mut more = body.clone();
    more["another"] = json!(1);
    let mut bodies = vec![
        ("without any field".to_owned(), json!({})),
        ("with a field that nobody knows".to_owned(), more),
    ];
    for (field, values) in probes() {
        for pointer in ["", "/author", "/book", "/items/0"] {
            if body
                .pointer(pointer)
                .is_none_or(|part| part.get(field).is_none())
            {
                continue;
            }
            for value in values.iter().cloned().map(Some).chain([None]) {
                let mut other = body.clone();
                let what = match &value {
                    Some(value) => format!("with {} as {field}", shown(value)),
                    None => format!("without {field}"),
                };
                for name in ["/name", "/book_name", "/author/name", "/book/book_name"] {
                    if let Some(name) = other.pointer_mut(name) {
                        *name = json!(format!("Name {}", bodies.len()));
                    }
                }
                let part = other.pointer_mut(pointer).and_then(Value::as_object_mut);
                if let Some(part) = part {
                    match value {
                        Some(value) => part.insert(field.to_owned(), value),
                        None => part.remove(field),
                    };
                }
                bodies.push((what, other));
            }
        }
    }
    bodies
}

/// A value as JSON, cut off where it becomes long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}

async fn limits() -> Outcome {
    let document = read().await?;
    let book = contract::new_book("Emma");
    let requests = [
        (Method::POST, "/book", book.clone()),
        (Method::PUT, "/book/1", book.clone()),
        (Method::PATCH, "/book/1", book),
        (Method::POST, "/author", json!({"name": "Ada"})),
        (
            Method::POST,
            "/catalog",
            contract::new_entry("Ada", "Notes"),
        ),
        (
            Method::POST,
            "/api/add_new_order",
            json!({"customer_id": 1, "items": [{"id": 1, "quantity": 2}]}),
        ),
    ];
    for (method, path, body) in requests {
        let operation = document.operation(&method, path)?;
        let schema = document.body_schema(&operation)?;
        let database = Database::sample().await?;
        let service = service(&database)?;
        let json = [("content-type", "application/json")];
        for (what, body) in changed(&body) {
            let reply = service
                .send(method.clone(), path, &json, body.to_string())
                .await?;
            match (reply.status < 400, document.fits(schema, &body)) {
                (true, Err(reason)) => {
                    return Err(Failure::new(
                        format_args!("{what}: {} (the service accepts it)", reply.asked()),
                        format_args!("a body that fits the schema of {}", operation.said()),
                        reason,
                    ));
                }
                (false, Ok(())) => {
                    return Err(Failure::new(
                        format_args!(
                            "{what}: {} (the service refuses it: {})",
                            reply.asked(),
                            reply.text()
                        ),
                        format_args!(
                            "a body that does not fit the schema of {}",
                            operation.said()
                        ),
                        "it fits",
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

// 11.6: lists as lines

async fn lines() -> Outcome {
    let document = read().await?;
    let database = Database::sample().await?;
    let recorder = Recorder::default();
    let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")?;
    let service = Service::start(recorder.around(app::app(engine)));
    for path in [
        "/api/customers",
        "/api/orders/1",
        "/api/orders_between_dates/2025-01-01/2020-01-01",
    ] {
        for media in ["application/json", "application/x-ndjson"] {
            let reply = service.get_with(path, &[("accept", media)]).await?;
            reply.expect_status(200)?;
        }
    }
    recorder
        .answers()
        .iter()
        .try_for_each(|answer| document.expect_answer(answer))
}

// 11.7: objects only

async fn arrays_refused() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database)?;
    let before = database.snapshot().await?;
    let book = r#"["Emma", 1, 7.5, null, null, null, null, null]"#;
    let no_author = r#"["Emma", 7.5, null, null, null, null, null]"#;
    let entries = [
        format!(r#"[["Ada"], {no_author}]"#),
        r#"{"author": ["Ada"], "book": {"book_name": "Emma", "price": 7.5}}"#.to_owned(),
        format!(r#"{{"author": {{"name": "Ada"}}, "book": {no_author}}}"#),
    ];
    let mut requests = vec![
        (Method::POST, "/author", r#"["Ada"]"#.to_owned()),
        (Method::POST, "/book", book.to_owned()),
        (Method::PUT, "/book/1", book.to_owned()),
        (Method::PATCH, "/book/1", r#"["Emma"]"#.to_owned()),
        (Method::PATCH, "/book/1", "[]".to_owned()),
        (
            Method::POST,
            "/api/add_new_order",
            r#"[1, [{"id": 1, "quantity": 2}]]"#.to_owned(),
        ),
        (
            Method::POST,
            "/api/add_new_order",
            r#"{"customer_id": 1, "items": [[1, 2]]}"#.to_owned(),
        ),
        (Method::GET, "/api/orders_total", "[[1, 2]]".to_owned()),
    ];
    for path in ["/catalog", "/catalog/separately"] {
        requests.extend(
            entries
                .iter()
                .map(|body| (Method::POST, path, body.clone())),
        );
    }
    for (method, path, body) in requests {
        let json = [("content-type", "application/json")];
        let reply = service.send(method, path, &json, body).await?;
        contract::expect_problem(&reply, 400)?;
        database.expect_unchanged(reply.asked(), &before).await?;
    }
    Ok(())
}
