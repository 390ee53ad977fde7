//! What step 09 asks for: modules that the application puts together, a migration of
//! a database that has rows, and books and authors whose values are checked.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use axum::http::Method;
use check::statements::{Recording, Statement};
use check::{
    Database, Failure, OrFail, Outcome, Reply, Service, Suite, WriteLock, ensure, equal,
    equal_json, own_tests,
};
use contract::bookstore::{Fault, bookstore, shared_bookstore};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use step09::app;
use step09::authors::{AuthorService, NewAuthor};
use step09::books::{Book, BookChange, BookService, NewBook};
use step09::db::base::{Engine, EngineConfig};
use step09::db::init_db::create_or_migrate;
use step09::error::Error;
use step09::types::Money;
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("09-modules", env!("CARGO_MANIFEST_DIR"))
        .check(
            "09.1",
            "an older database gets the tables that it lacks, and its rows stay",
            older_database,
        )
        .check("09.1", "a second start changes nothing", second_start)
        .check(
            "09.1",
            "a database of a newer program is refused and left as it is",
            newer_database,
        )
        .check(
            "09.1",
            "a migration that fails leaves the database as it was",
            failed_migration,
        )
        .check(
            "09.1",
            "a new database has all tables and the sample books",
            new_database,
        )
        .check(
            "09.2",
            "the application has the endpoints of each module",
            modules_are_registered,
        )
        .check(
            "09.2",
            "the service says its name and its version",
            app_info,
        )
        .check("09.2", "all other answers are as before", other_answers)
        .check(
            "09.3",
            "a new author is stored and answered with its id and its path",
            new_authors,
        )
        .check(
            "09.3",
            "a taken name and a body that is not an author are refused, and nothing is stored",
            author_refusals,
        )
        .check(
            "09.3",
            "an author is removed, unless there are books by this author",
            author_removed,
        )
        .check(
            "09.3",
            "a request that fails half-way or is dropped stores its author or nothing",
            new_author_whole,
        )
        .check("09.3", "an author can be read by id", author_by_id)
        .check(
            "09.3",
            "another failure of the database is the service's fault, and no SQL is shown",
            author_failures,
        )
        .check(
            "09.4",
            "a book can be read by id, and a missing one is 404",
            book_by_id,
        )
        .check(
            "09.4",
            "books and authors come in pages, complete and in order",
            pages,
        )
        .check(
            "09.4",
            "a limit that is not from 1 to 100 is refused",
            page_refusals,
        )
        .check(
            "09.4",
            "rows that are removed between two pages do not hide others",
            pages_while_removed,
        )
        .check(
            "09.4",
            "a page is one statement, which reads only the rows of the page",
            page_statements,
        )
        .check(
            "09.4",
            "a failure of the database is not a missing book and not an empty page",
            reading_failures,
        )
        .check(
            "09.5",
            "a field with a value changes the book, a missing one does not",
            change_with_values,
        )
        .check(
            "09.5",
            "`null` clears a field that may be null",
            change_with_nulls,
        )
        .check(
            "09.5",
            "`null` for a field that needs a value is refused",
            change_with_null_for_a_needed_value,
        )
        .check(
            "09.6",
            "a new book is stored and answered with its id and its path",
            new_books,
        )
        .check(
            "09.6",
            "values that cannot be are refused with their field, and nothing is stored",
            book_refusals,
        )
        .check(
            "09.6",
            "of several new books with one name at once, one is stored",
            one_name_at_once,
        )
        .check(
            "09.6",
            "another failure of the insert is the service's fault, and no SQL is shown",
            new_book_failures,
        )
        .check(
            "09.6",
            "a request that fails half-way or is dropped stores its book or nothing",
            new_book_whole,
        )
        .check(
            "09.7",
            "PUT: all values are new, and a missing field is null then",
            book_replaced,
        )
        .check(
            "09.7",
            "PUT: a value that cannot be is refused, and the book stays as it was",
            replace_refusals,
        )
        .check(
            "09.7",
            "PATCH: the named fields are new, the others stay",
            book_changed,
        )
        .check("09.7", "PATCH: `null` clears a field", book_cleared)
        .check(
            "09.7",
            "PATCH: a value that cannot be is refused, and the book stays as it was",
            change_refusals,
        )
        .check(
            "09.7",
            "PATCH: changes of different fields at once all last",
            changes_at_once,
        )
        .check(
            "09.7",
            "DELETE: the book is gone, and a missing one is 404",
            book_removed,
        )
        .check(
            "09.7",
            "a change needs one connection, and no statement reads a whole table",
            change_statements,
        )
        .check(
            "09.7",
            "another failure of the database is the service's fault, and no SQL is shown",
            change_failures,
        )
        .check(
            "09.7",
            "a request that fails half-way or is dropped changes all that it should or nothing",
            change_whole,
        )
        .check(
            "09.7",
            "an empty store answers, and can be filled",
            empty_store,
        )
        .check(
            "09.8",
            "your tests accept a right bookstore and reject each wrong one",
            tests_of_the_learner,
        )
        .run()
}

// 09.1: the database of an older program

/// The database of step 08: three migrations, and more rows than the sample has.
async fn of_step_08() -> Result<Database, Failure> {
    let database = Database::older(3).await?;
    database.add_customers(40).await?;
    database.add_orders(60, 3).await?;
    Ok(database)
}

async fn start(database: &Database, asked: &str) -> Outcome {
    create_or_migrate(&database.url()).await.or_fail(asked)?;
    expect_closed(database, asked)
}

/// No connection is open now. SQLite removes the file when the last one closes.
fn expect_closed(database: &Database, asked: &str) -> Outcome {
    ensure(
        !database.path().with_extension("sqlite-wal").exists(),
        asked,
        "no connection open when the function returns",
        "a connection is still open",
    )
}

async fn older_database() -> Outcome {
    for (database, what) in [
        (of_step_08().await?, "a database of step 08"),
        (
            Database::older(1).await?,
            "a database that has only the first migration",
        ),
    ] {
        let asked = format!("create_or_migrate, for {what}");
        let before = database.snapshot().await?;
        start(&database, &asked).await?;
        let versions = stored(&database, VERSIONS).await?;
        let versions_asked = format!("{asked}: the migrations that the database has then");
        equal_json(versions_asked, &json!([1, 2, 3, 4, 5]), &versions)?;
        for table in ["author", "book"] {
            let sql = format!("SELECT count(*) FROM sqlite_schema WHERE name = '{table}'");
            let tables: i64 = database.one(&sql).await?;
            let tables_asked = format!("{asked}: tables with the name {table}");
            equal(tables_asked, 1, tables)?;
        }
        // The sample data is not for a database that is already in use.
        database.execute(WITHOUT_KEYS).await?;
        database.expect_unchanged(&asked, &before).await?;
    }
    Ok(())
}

/// Takes the column of migration 5 away again, so that the rows of an older database can be
/// compared.
const WITHOUT_KEYS: &str =
    "DROP INDEX orders_by_key; ALTER TABLE orders DROP COLUMN idempotency_key";

const VERSIONS: &str =
    "SELECT json_group_array(version) FROM (SELECT version FROM _sqlx_migrations ORDER BY version)";

async fn second_start() -> Outcome {
    let database = of_step_08().await?;
    start(&database, "create_or_migrate, for a database of step 08").await?;
    let more = "INSERT INTO author (id, name) VALUES (7, 'Ada');
                INSERT INTO book (book_name, author_id, price_cents) VALUES ('Notes', 7, 7);";
    database.execute(more).await?;
    let before = whole(&database).await?;
    let asked = "create_or_migrate, for a database that has all migrations already";
    for _ in 0..2 {
        start(&database, asked).await?;
    }
    equal_json(asked, &before, &whole(&database).await?)?;

    // One that was new, whose owner has removed the sample books.
    let database = Database::sample().await?;
    database
        .execute("DELETE FROM book; DELETE FROM author")
        .await?;
    let before = database.snapshot().await?;
    let asked = "create_or_migrate, for a database from which all books have been removed";
    start(&database, asked).await?;
    database.expect_unchanged(asked, &before).await
}

/// The schema, the migrations and how many rows there are.
async fn whole(database: &Database) -> Result<Value, Failure> {
    let sql = "SELECT json_object(
        'schema', (SELECT json_group_array(name || ': ' || coalesce(sql, ''))
                   FROM (SELECT name, sql FROM sqlite_schema ORDER BY name)),
        'migrations', (SELECT json_group_array(version || ' ' || installed_on || ' ' || success)
                       FROM (SELECT * FROM _sqlx_migrations ORDER BY version)),
        'orders', (SELECT count(*) FROM orders), 'items', (SELECT count(*) FROM order_items),
        'customers', (SELECT count(*) FROM customer))";
    stored(database, sql).await
}

async fn newer_database() -> Outcome {
    let database = Database::sample().await?;
    let newer = "INSERT INTO _sqlx_migrations VALUES (9001, 'later', '2030-01-01', 1, x'00', 0)";
    database.execute(newer).await?;
    let asked = "create_or_migrate, for a database with migration 9001, which this program \
                 does not know";
    refused_unchanged(&database, asked).await?;

    let database = of_step_08().await?;
    let other = "UPDATE _sqlx_migrations SET checksum = x'0102' WHERE version = 2";
    database.execute(other).await?;
    let asked = "create_or_migrate, for a database of step 08 whose migration 2 was another one";
    refused_unchanged(&database, asked).await
}

async fn refused_unchanged(database: &Database, asked: &str) -> Outcome {
    let rows = database.snapshot().await?;
    let before = whole(database).await?;
    let result = create_or_migrate(&database.url()).await;
    let closed = expect_closed(database, asked);
    match result {
        Err(Error::Migration(_)) => {}
        Err(error) => {
            let expected = "Error::Migration, with the cause from sqlx";
            return Err(Failure::new(asked, expected, format!("{error:?}")));
        }
        Ok(()) => {
            let expected = "an error, with which the service ends";
            return Err(Failure::new(asked, expected, "Ok: the service starts"));
        }
    }
    closed?;
    equal_json(asked, &before, &whole(database).await?)?;
    database.expect_unchanged(asked, &rows).await
}

async fn failed_migration() -> Outcome {
    // Migration 4 creates the authors first; then there is a table in its way.
    let database = of_step_08().await?;
    let table = "CREATE TABLE book (title TEXT); INSERT INTO book VALUES ('my own');";
    database.execute(table).await?;
    let asked = "create_or_migrate, for a database of step 08 with a table `book` of its own";
    refused_unchanged(&database, asked).await?;

    // Out of the way, and the next start does all of it.
    database
        .execute("ALTER TABLE book RENAME TO my_book")
        .await?;
    let before = database.snapshot().await?;
    let asked = format!("{asked}, after that table has another name");
    start(&database, &asked).await?;
    let versions = stored(&database, VERSIONS).await?;
    equal_json(&asked, &json!([1, 2, 3, 4, 5]), &versions)?;
    database.execute(WITHOUT_KEYS).await?;
    database.expect_unchanged(&asked, &before).await
}

async fn new_database() -> Outcome {
    let other = Database::empty().await?;
    let folder = other.path().parent().or_fail("the folder of a database")?;
    let url = other.url().replace("market.sqlite", "new.sqlite");
    let asked = "create_or_migrate, for a file that does not exist";
    create_or_migrate(&url).await.or_fail(asked)?;
    std::fs::copy(folder.join("new.sqlite"), other.path()).or_fail(asked)?;
    let sample = Database::sample().await?;
    other
        .expect_unchanged(asked, &sample.snapshot().await?)
        .await?;
    let asked = format!("{asked}: the migrations that it has then");
    equal_json(
        asked,
        &json!([1, 2, 3, 4, 5]),
        &stored(&other, VERSIONS).await?,
    )
}

// 09.2: the application

async fn modules_are_registered() -> Outcome {
    let (service, _database) = fresh().await?;
    // The controllers refuse these before they call a service.
    for (module, method, path) in [
        ("authors", Method::GET, "/author?limit=x"),
        ("authors", Method::POST, "/author"),
        ("authors", Method::GET, "/author/x"),
        ("books", Method::GET, "/book?limit=x"),
        ("books", Method::POST, "/book"),
        ("books", Method::GET, "/book/x"),
        ("books", Method::PUT, "/book/x"),
    ] {
        let reply = service.send(method, path, &[], "").await?;
        if reply.status == 404 || reply.status == 405 {
            return Err(reply.failure(format!(
                "status 400 from the controller in `{module}`: the router in `app` must have \
                 the endpoints of `{module}::routes`"
            )));
        }
        contract::expect_problem(&reply, 400)?;
    }
    Ok(())
}

async fn app_info() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::app_info(&service, env!("CARGO_PKG_VERSION")).await
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::format_by_accept(&service, "/api/customers").await?;
    contract::customers_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::customers_nested_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_nested(&service, &database).await?;
    contract::orders_of_unknown_customer_empty(&service).await?;
    let (service, database) = fresh().await?;
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    contract::new_order_refusals(&service, &database).await
}

// 09.3: authors

async fn new_authors() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_authors(&service).await?;
    let sql =
        "SELECT json_group_array(name) FROM (SELECT name FROM author WHERE id > 3 ORDER BY id)";
    let names = stored(&database, sql).await?;
    let asked = "POST /author, 5 times: the names that are stored";
    let long = "é".repeat(200);
    let expected = json!([
        "Ada",
        "Zoë \"Z\" \\ O'Neil",
        "ada",
        "'; DROP TABLE author; --",
        long
    ]);
    equal_json(asked, &expected, &names)
}

async fn author_refusals() -> Outcome {
    let (service, database) = fresh().await?;
    let before = database.snapshot().await?;
    contract::author_refusals(&service).await?;
    let asked = "POST /author with names and bodies that are refused";
    database.expect_unchanged(asked, &before).await?;
    let unnamed = json!({"name": ""});
    refused_without_a_connection(Method::POST, "/author", &unnamed).await
}

/// The service refuses the body before it takes a connection.
async fn refused_without_a_connection(method: Method, path: &str, body: &Value) -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let service = Service::start(app::app(engine.clone()));
    let taken = engine.pool().acquire().await;
    let taken = taken.or_fail("a connection for the check")?;
    let reply = send(&service, method, path, &body.to_string()).await?;
    drop(taken);
    if reply.status == 422 {
        return Ok(());
    }
    Err(reply.failure(
        "status 422, although the check holds the only connection: a service must check \
         the values before it takes a connection",
    ))
}

async fn author_removed() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::author_removed(&service).await?;
    removed_once("/author/9").await
}

/// Of two requests at once that remove the same row, one has removed it.
async fn removed_once(path: &str) -> Outcome {
    let (service, database) = fresh().await?;
    database.execute(AUTHOR_WITHOUT_BOOKS).await?;
    // Both begin while another program holds the write lock, so that each has looked for
    // the row by then, if it looks for it, before either of them can remove it.
    let lock = database.lock_exclusively().await?;
    let delete = || send(&service, Method::DELETE, path, "");
    let (one, other, released) = tokio::join!(delete(), delete(), busy(&service, lock));
    released?;
    let mut replies = [one?, other?];
    replies.sort_by_key(|reply| reply.status);
    let asked = format!("twice at once: {}", replies[0].asked());
    let statuses = replies.each_ref().map(|reply| reply.status);
    equal_json(asked, &json!([204, 404]), &json!(statuses))
}

const AUTHOR_WITHOUT_BOOKS: &str = "INSERT INTO author (id, name) VALUES (9, 'Bea')";

async fn new_author_whole() -> Outcome {
    let ada = json!({"name": "Ada"}).to_string();
    failed_commit("INSERT ON author", Method::POST, "/author", &ada).await?;
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let authors = AuthorService::new(engine.clone());
    let restore = "DELETE FROM author WHERE id > 3";
    let author = NewAuthor {
        name: "Ada".to_owned(),
    };
    let create = async || authors.create(&author).await.map(drop);
    interrupted("AuthorService::create", &engine, &database, restore, create).await
}

async fn author_by_id() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::author_by_id(&service).await
}

async fn author_failures() -> Outcome {
    let (service, database) = fresh().await?;
    database.execute(AUTHOR_WITHOUT_BOOKS).await?;
    for change in ["INSERT ON author", "DELETE ON author"] {
        database.refuse(change).await?;
    }
    let ada = json!({"name": "Ada"}).to_string();
    let both_fail = async || {
        services_fault(&service, &database, Method::POST, "/author", &ada).await?;
        services_fault(&service, &database, Method::DELETE, "/author/9", "").await
    };
    both_fail().await?;
    database
        .execute("ALTER TABLE author RENAME TO gone")
        .await?;
    both_fail().await
}

/// The answer is 500 and shows nothing of the cause, which is in the log.
async fn services_fault(
    service: &Service,
    database: &Database,
    method: Method,
    path: &str,
    body: &str,
) -> Outcome {
    let before = database.snapshot().await?;
    let recording = Recording::start();
    let reply = send(service, method, path, body).await?;
    if reply.status != 500 {
        return Err(reply.failure(
            "status 500: the database fails (a trigger or a missing table of the check), \
             which is not the client's mistake",
        ));
    }
    contract::expect_problem(&reply, 500)?;
    ensure(
        !reply.text().contains("refused by the check"),
        reply.asked(),
        "an answer without the database's message",
        reply.text(),
    )?;
    let cause = "Database(";
    recording.expect_logged(reply.asked(), Level::ERROR, cause)?;
    database.expect_unchanged(reply.asked(), &before).await
}

// 09.4: reading

async fn book_by_id() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::book_by_id(&service).await
}

async fn pages() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::pages(&service, "/book", &contract::sample_books()).await?;
    contract::pages(&service, "/author", &contract::sample_authors()).await?;

    for count in [20, 21, 250] {
        let database = many(count).await?;
        if count == 21 {
            // Without `ORDER BY`, the odd ids come first.
            for table in ["book", "author"] {
                let shuffle = format!(
                    "ALTER TABLE {table} RENAME TO stored_{table};
                     CREATE VIEW {table} AS
                         SELECT * FROM stored_{table} ORDER BY abs(id % 2) DESC, id LIMIT -1;"
                );
                database.execute(&shuffle).await?;
            }
        }
        let service = self::service(&database)?;
        contract::pages(&service, "/book", &stored_books(&database).await?).await?;
        if count < 250 {
            contract::pages(&service, "/author", &stored_authors(&database).await?).await?;
        }
    }
    Ok(())
}

async fn page_refusals() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::page_refusals(&service, "/book").await?;
    contract::page_refusals(&service, "/author").await
}

async fn pages_while_removed() -> Outcome {
    let database = many(30).await?;
    let service = service(&database)?;
    let books = stored_books(&database).await?;
    let remove = async |id| {
        database
            .execute(&format!("DELETE FROM book WHERE id = {id}"))
            .await
    };
    contract::pages_while_removed(&service, "/book", &books, remove).await?;
    database.execute("DELETE FROM book").await?;
    let authors = stored_authors(&database).await?;
    let remove = async |id| {
        database
            .execute(&format!("DELETE FROM author WHERE id = {id}"))
            .await
    };
    contract::pages_while_removed(&service, "/author", &authors, remove).await
}

async fn page_statements() -> Outcome {
    let database = many(2_000).await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    let lock = database.lock_exclusively().await?;
    let recording = Recording::start();
    for path in ["/book", "/author"] {
        for (query, rows) in [
            ("", 20),
            ("?limit=100", 100),
            ("?limit=7&after=2500", 7),
            ("?after=6500&limit=3", 0),
        ] {
            recording.clear();
            let reply = service.get(&format!("{path}{query}")).await?;
            reply.expect_status(200)?;
            let asked = format!(
                "{}, of 2000 rows, while another program writes",
                reply.asked()
            );
            let executed = recording.statements();
            let returned: Vec<u64> = executed.iter().map(|it| it.rows_returned).collect();
            ensure(
                returned == [rows],
                &asked,
                format!("1 statement that returns {rows} rows"),
                format!(
                    "{} statements that return {returned:?} rows",
                    returned.len()
                ),
            )?;
            no_scan(&database, &asked, &executed).await?;
        }
    }
    lock.release().await
}

/// None of the statements reads a table from its beginning.
async fn no_scan(database: &Database, asked: &str, statements: &[Statement]) -> Outcome {
    let mut connection = database.connect().await?;
    for statement in statements {
        let sql = &statement.sql;
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
            .fetch_all(&mut connection)
            .await
            .or_fail(sql)?;
        for step in plan {
            let step: String = step.try_get("detail").or_fail(sql)?;
            ensure(
                !step.starts_with("SCAN book") && !step.starts_with("SCAN author"),
                asked,
                "statements that find their rows by a key",
                format!("SQLite's plan: {step}\nfor the statement\n{sql}"),
            )?;
        }
    }
    Ok(())
}

async fn reading_failures() -> Outcome {
    let (service, database) = fresh().await?;
    for table in ["book", "author"] {
        let gone = format!("ALTER TABLE {table} RENAME TO gone_{table}");
        database.execute(&gone).await?;
    }
    for path in ["/book", "/book/1", "/author"] {
        services_fault(&service, &database, Method::GET, path, "").await?;
    }
    Ok(())
}

// 09.5: the fields of a change

fn book() -> Book {
    Book {
        id: 5,
        book_name: "Emma".to_owned(),
        author_id: 1,
        price: Money(7),
        description: Some("Miss Woodhouse".to_owned()),
        year_of_publication: Some(1815),
        genre: Some("novel".to_owned()),
        language: Some("English".to_owned()),
        pages: Some(474),
    }
}

/// The values of [`book`] after the change that `body` is.
fn after(body: &Value) -> Result<Value, Failure> {
    let asked = format!("BookChange, read from {body}");
    let change: BookChange = serde_json::from_str(&body.to_string()).or_fail(asked)?;
    let NewBook {
        book_name,
        author_id,
        price,
        description,
        year_of_publication,
        genre,
        language,
        pages,
    } = change.apply(book());
    Ok(json!({
        "book_name": book_name, "author_id": author_id, "price": price,
        "description": description, "year_of_publication": year_of_publication,
        "genre": genre, "language": language, "pages": pages,
    }))
}

async fn change_with_values() -> Outcome {
    let whole = json!({
        "book_name": "Emma", "author_id": 1, "price": 0.07, "description": "Miss Woodhouse",
        "year_of_publication": 1815, "genre": "novel", "language": "English", "pages": 474,
    });
    for (field, value) in [
        ("book_name", json!("Persuasion")),
        ("author_id", json!(3)),
        ("price", json!(4.35)),
        ("description", json!("Miss Elliot")),
        ("year_of_publication", json!(1817)),
        ("genre", json!("comedy")),
        ("language", json!("Latin")),
        ("pages", json!(280)),
    ] {
        let change = json!({field: value});
        applied(&whole, &change)?;
    }
    applied(&whole, &json!({}))?;
    applied(&whole, &json!({"pages": 1, "genre": "comedy", "price": 0}))
}

fn applied(before: &Value, change: &Value) -> Outcome {
    let mut expected = before.clone();
    for (field, value) in change.as_object().into_iter().flatten() {
        expected[field] = value.clone();
    }
    let asked = format!("BookChange::apply of {change} to\n{before}");
    equal_json(asked, &expected, &after(change)?)
}

async fn change_with_nulls() -> Outcome {
    let whole = after(&json!({}))?;
    for field in contract::NULLABLE {
        applied(&whole, &json!({field: null}))?;
    }
    applied(&whole, &json!({"genre": null, "pages": null, "price": 12}))
}

async fn change_with_null_for_a_needed_value() -> Outcome {
    for field in ["book_name", "author_id", "price"] {
        let body = json!({field: null}).to_string();
        if let Ok(change) = serde_json::from_str::<BookChange>(&body) {
            let asked = format!("BookChange, read from {body}");
            let expected = "an error: a book must have this value";
            return Err(Failure::new(asked, expected, format!("{change:?}")));
        }
    }
    // Beside one that may be null, which is there to see that nulls are told apart.
    applied(&after(&json!({}))?, &json!({"description": null}))
}

// 09.6: new books

async fn new_books() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_books(&service).await?;
    let sql = "SELECT json_group_array(price_cents) FROM (
                   SELECT price_cents FROM book WHERE id > 3 ORDER BY id LIMIT 14
               )";
    let cents = stored(&database, sql).await?;
    let asked = "POST /book, 14 times: the prices in cents that are stored";
    let expected = json!([
        1050,
        1050,
        1050,
        1050,
        1050,
        0,
        1200,
        7,
        29,
        435,
        1999,
        110,
        99_999_999,
        100_000_000
    ]);
    equal_json(asked, &expected, &cents)
}

async fn book_refusals() -> Outcome {
    let (service, database) = fresh().await?;
    let before = database.snapshot().await?;
    contract::book_refusals(&service).await?;
    let asked = "POST /book with values and bodies that are refused";
    database.expect_unchanged(asked, &before).await?;
    refused_without_a_connection(Method::POST, "/book", &without_pages()).await
}

/// A book whose number of pages is refused.
fn without_pages() -> Value {
    let mut book = contract::new_book("Emma");
    book["pages"] = json!(0);
    book
}

async fn one_name_at_once() -> Outcome {
    let (service, database) = fresh().await?;
    // Both begin while another program holds the write lock, so that each has looked for
    // the name by then, if it looks for it, before either of them can write.
    let lock = database.lock_exclusively().await?;
    let book = contract::new_book("Emma");
    let post = || service.post_json("/book", &book);
    let (one, other, released) = tokio::join!(post(), post(), busy(&service, lock));
    released?;
    let mut replies = [one?, other?];
    replies.sort_by_key(|reply| reply.status);
    let asked = format!("twice at once: {}", replies[0].asked());
    let statuses = replies.each_ref().map(|reply| reply.status);
    equal_json(asked, &json!([201, 409]), &json!(statuses))?;

    let (service, _database) = fresh().await?;
    contract::one_name_at_once(&service).await
}

/// Other requests, which read, while the check holds the write lock; then it is free.
async fn busy(service: &Service, lock: WriteLock) -> Outcome {
    for _ in 0..50 {
        service.get("/book/2").await?;
    }
    lock.release().await
}

async fn new_book_failures() -> Outcome {
    let (service, database) = fresh().await?;
    database.refuse("INSERT ON book").await?;
    let book = contract::new_book("Emma").to_string();
    services_fault(&service, &database, Method::POST, "/book", &book).await?;
    database.allow().await?;
    database.execute("ALTER TABLE book RENAME TO gone").await?;
    services_fault(&service, &database, Method::POST, "/book", &book).await
}

async fn new_book_whole() -> Outcome {
    let (service, database) = fresh().await?;
    // A book that is not stored by one statement is stored in part.
    database.refuse("UPDATE ON book").await?;
    let reply = service
        .post_json("/book", &contract::new_book("Emma"))
        .await?;
    let asked = format!(
        "{}\n(a trigger of the check refuses each UPDATE of a book)",
        reply.asked()
    );
    whole_or_nothing(&database, asked).await?;
    let emma = contract::new_book("Emma").to_string();
    failed_commit("INSERT ON book", Method::POST, "/book", &emma).await?;

    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let books = BookService::new(engine.clone());
    let book: NewBook =
        serde_json::from_value(contract::new_book("Emma")).or_fail("NewBook from JSON")?;
    let restore = "DELETE FROM book WHERE id > 3";
    let create = async || books.create(&book).await.map(drop);
    interrupted("BookService::create", &engine, &database, restore, create).await
}

/// Sends a request whose `change`, `INSERT ON book`, makes the COMMIT fail: a deferred
/// foreign key is looked at only then. It is refused, and nothing is stored.
async fn failed_commit(change: &str, method: Method, path: &str, body: &str) -> Outcome {
    let (service, database) = fresh().await?;
    let sql = format!(
        "CREATE TABLE shelf (
             item_id INTEGER NOT NULL REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED
         );
         CREATE TRIGGER put AFTER {change} BEGIN INSERT INTO shelf VALUES (2222); END"
    );
    database.execute(&sql).await?;
    let before = database.snapshot().await?;
    let reply = send(&service, method, path, body).await?;
    let asked = format!(
        "{}\n(a deferred foreign key of the check makes the COMMIT fail)",
        reply.asked()
    );
    if reply.status < 400 {
        let got = format_args!("status {}: {}", reply.status, reply.text());
        return Err(Failure::new(asked, "an error, and nothing is stored", got));
    }
    database.expect_unchanged(&asked, &before).await
}

/// Runs `call` with a pool of one connection. Each time, `restore` brings the database
/// to the state before it.
///
/// Another call takes the connection after the commit, and `call` succeeds. Or `call` is
/// dropped: while it waits for the write lock, and after so many polls, for every number
/// until it ends. Then the pool's connection is free and outside a transaction.
async fn interrupted(
    what: &str,
    engine: &Engine,
    database: &Database,
    restore: &str,
    call: impl AsyncFn() -> Result<(), Error>,
) -> Outcome {
    database.execute(restore).await?;
    let lock = database.lock_exclusively().await?;
    let other = async {
        time_to_reach_the_lock(database).await?;
        // It queues for the connection before the call can commit.
        let (taken, released) = tokio::join!(engine.pool().acquire(), lock.release());
        released?;
        taken.or_fail("a connection for the check")
    };
    // The other one holds the connection until both have ended.
    let (ended, taken) = tokio::join!(call(), other);
    drop(taken?);
    let asked = format!("{what}, with a pool of 1; after the commit, another call takes it");
    ended.map_err(|error| {
        let expected = "success: after the commit the call needs no connection";
        Failure::new(asked, expected, format!("error: {error:?}"))
    })?;

    database.execute(restore).await?;
    let lock = database.lock_exclusively().await?;
    let reached = tokio::select! {
        _ = call() => Ok(()),
        reached = time_to_reach_the_lock(database) => reached,
    };
    reached?;
    lock.release().await?;
    let asked = format!("{what}, dropped while it waits for the write lock");
    free_and_whole(engine, database, &asked).await?;

    for polls in 0..200 {
        database.execute(restore).await?;
        let ended = polled(call(), polls).await;
        let asked = format!("{what}, dropped after {polls} polls");
        free_and_whole(engine, database, &asked).await?;
        if let Some(result) = ended {
            return result.or_fail(asked);
        }
    }
    Err(Failure::new(
        format!("{what}, polled 200 times"),
        "an end",
        "none",
    ))
}

/// Reads, while the check holds the write lock, so long that a call has reached it.
async fn time_to_reach_the_lock(database: &Database) -> Outcome {
    for _ in 0..50 {
        database.one::<i64>("SELECT count(*) FROM book").await?;
    }
    Ok(())
}

async fn free_and_whole(engine: &Engine, database: &Database, asked: &str) -> Outcome {
    let writes = async {
        let mut connection = engine.pool().acquire().await?;
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK;")
            .execute(&mut *connection)
            .await
    };
    writes.await.map_err(|error| {
        let got = format!("error: {error}");
        let asked = format!("{asked}; then another call begins to write, with a pool of 1");
        Failure::new(asked, "a free connection without an open transaction", got)
    })?;
    whole_or_nothing(database, asked).await
}

async fn whole_or_nothing(database: &Database, asked: impl Display) -> Outcome {
    let books = stored(database, BOOKS_LIKE_EMMA).await?;
    ensure(
        [json!([]), json!([EMMA])].contains(&books),
        asked,
        "the book with all of its new values, or nothing of it",
        &books,
    )
}

/// Of the books that have any value of `contract::new_book("Emma")`, which ones.
const BOOKS_LIKE_EMMA: &str = "SELECT json_group_array(
        concat_ws(', ', book_name, author_id, price_cents, description,
                  year_of_publication, genre, language, pages))
    FROM book WHERE book_name = 'Emma' OR price_cents = 1050 OR description = 'read twice'
        OR year_of_publication = 1815 OR genre = 'romance' OR language = 'Latin' OR pages = 77";

const EMMA: &str = "Emma, 1, 1050, read twice, 1815, romance, Latin, 77";

// 09.7: changes

async fn book_replaced() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::book_replaced(&service).await
}

async fn replace_refusals() -> Outcome {
    let (service, database) = fresh().await?;
    let before = database.snapshot().await?;
    contract::replace_refusals(&service).await?;
    let asked = "PUT /book/1 with values and bodies that are refused";
    database.expect_unchanged(asked, &before).await?;
    refused_without_a_connection(Method::PUT, "/book/1", &without_pages()).await
}

async fn book_changed() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::book_changed(&service).await
}

async fn book_cleared() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::book_cleared(&service).await
}

async fn change_refusals() -> Outcome {
    let (service, database) = fresh().await?;
    let before = database.snapshot().await?;
    contract::change_refusals(&service).await?;
    let asked = "PATCH /book/1 with values and bodies that are refused";
    database.expect_unchanged(asked, &before).await
}

async fn changes_at_once() -> Outcome {
    let (service, database) = fresh().await?;
    // Both changes begin while another program holds the write lock, so that each has
    // read what it can read by then before either of them can write.
    let lock = database.lock_exclusively().await?;
    let patch =
        async |body: Value| send(&service, Method::PATCH, "/book/2", &body.to_string()).await;
    let (genre, pages, released) = tokio::join!(
        patch(json!({"genre": "travel"})),
        patch(json!({"pages": 5})),
        busy(&service, lock)
    );
    released?;
    for reply in [genre?, pages?] {
        reply.expect_status(200)?;
    }
    let reply = service.get("/book/2").await?;
    let asked = format!(
        "PATCH /book/2 {{\"genre\":\"travel\"}} and PATCH /book/2 {{\"pages\":5}} at once\nthen {}",
        reply.asked()
    );
    let mut expected = contract::sample_books()[1].clone();
    expected["genre"] = json!("travel");
    expected["pages"] = json!(5);
    reply.expect_status(200)?;
    equal_json(asked, &expected, &reply.json()?)?;

    let (service, _database) = fresh().await?;
    contract::changes_at_once(&service).await
}

async fn book_removed() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::book_removed(&service).await?;
    removed_once("/book/3").await
}

async fn change_statements() -> Outcome {
    let database = many(300).await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    let recording = Recording::start();
    let book = contract::new_book("Emma");
    let mut unknown = contract::new_book("Persuasion");
    unknown["author_id"] = json!(99_999);
    for (method, path, body, status) in [
        (Method::POST, "/author", json!({"name": "Ada"}), 201),
        (Method::POST, "/author", json!({"name": "Ada"}), 409),
        (Method::DELETE, "/author/1", Value::Null, 409),
        (Method::POST, "/book", unknown.clone(), 422),
        (Method::POST, "/book", book.clone(), 201),
        (Method::POST, "/book", book.clone(), 409),
        (Method::PUT, "/book/1", unknown, 422),
        (Method::PUT, "/book/1", book, 409),
        (Method::PATCH, "/book/1", json!({"pages": 5}), 200),
        (Method::PATCH, "/book/1", json!({"author_id": 99_999}), 422),
        (Method::PATCH, "/book/99999", json!({"pages": 5}), 404),
        (Method::DELETE, "/book/1", Value::Null, 204),
        (Method::DELETE, "/book/1", Value::Null, 404),
    ] {
        recording.clear();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = send(&service, method, path, &body).await?;
        if reply.status == 503 {
            return Err(reply.failure(format!(
                "status {status}: with a pool of 1, a request that holds a connection must \
                 not wait for a second one"
            )));
        }
        reply.expect_status(status)?;
        no_scan(&database, reply.asked(), &recording.statements()).await?;
    }
    Ok(())
}

async fn change_failures() -> Outcome {
    let (service, database) = fresh().await?;
    for change in ["UPDATE ON book", "DELETE ON book"] {
        database.refuse(change).await?;
    }
    let book = contract::new_book("Emma").to_string();
    let requests = [
        (Method::PUT, "/book/1", &*book),
        (Method::PATCH, "/book/1", "{\"pages\":5}"),
        (Method::DELETE, "/book/1", ""),
    ];
    for (method, path, body) in requests.clone() {
        services_fault(&service, &database, method, path, body).await?;
    }
    database.allow().await?;
    database.execute("ALTER TABLE book RENAME TO gone").await?;
    for (method, path, body) in requests {
        services_fault(&service, &database, method, path, body).await?;
    }
    Ok(())
}

async fn change_whole() -> Outcome {
    let body = contract::new_book("Emma").to_string();
    for method in [Method::PATCH, Method::PUT] {
        failed_commit("UPDATE ON book", method.clone(), "/book/2", &body).await?;
        let (service, database) = fresh().await?;
        database.execute(ONLY_ONE_UPDATE).await?;
        let reply = send(&service, method, "/book/2", &body).await?;
        let asked = format!(
            "{}\n(a trigger of the check refuses a second UPDATE of the book)",
            reply.asked()
        );
        whole_or_nothing(&database, asked).await?;
    }

    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let books = BookService::new(engine.clone());
    let new: NewBook = serde_json::from_str(&body).or_fail("NewBook from JSON")?;
    let restore = "UPDATE book SET book_name = 'Old', author_id = 2, price_cents = 1,
        description = 'old', year_of_publication = 1, genre = 'old', language = 'old', pages = 1
        WHERE id = 2";
    let update = async || {
        let change = serde_json::from_str(&body).expect("BookChange from JSON");
        books.update(2, change).await.map(drop)
    };
    interrupted("BookService::update", &engine, &database, restore, update).await?;
    let replace = async || books.replace(2, &new).await.map(drop);
    interrupted("BookService::replace", &engine, &database, restore, replace).await
}

/// The count is rolled back together with the update that it counts.
const ONLY_ONE_UPDATE: &str = "CREATE TABLE updates (n INTEGER);
    CREATE TRIGGER count_updates AFTER UPDATE ON book BEGIN INSERT INTO updates VALUES (1); END;
    CREATE TRIGGER refuse_second BEFORE UPDATE ON book
        WHEN (SELECT count(*) FROM updates) >= 1
        BEGIN SELECT RAISE(ABORT, 'refused by the check'); END;";

async fn empty_store() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::empty_store(&service).await
}

// What the checks have in common

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")
}

/// An engine with a single connection.
fn engine_of_one(database: &Database) -> Result<Engine, Failure> {
    let config = EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        busy_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    };
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

fn service(database: &Database) -> Result<Service, Failure> {
    Ok(Service::start(app::app(engine(database)?)))
}

/// A service over a database of its own. The service is dropped first.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database)?, database))
}

async fn send(service: &Service, method: Method, path: &str, body: &str) -> Result<Reply, Failure> {
    let json = [("content-type", "application/json")];
    let headers = if body.is_empty() { &[][..] } else { &json };
    service.send(method, path, headers, body.to_owned()).await
}

/// A store with `count` authors and as many books besides those of the sample, with
/// gaps between their ids, of which some are negative. Neither their names nor their
/// authors are in the order of their ids.
async fn many(count: u32) -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = format!(
        "BEGIN IMMEDIATE;
         CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (
             SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}
         ) SELECT i, i * 3 - 32 AS id, i * 7919 % 10007 AS name FROM n;
         DELETE FROM book;
         DELETE FROM author;
         INSERT INTO author (id, name) SELECT id, 'Author ' || name FROM n;
         INSERT INTO book (id, book_name, author_id, price_cents, genre, pages)
         SELECT id, 'Book ' || name, ({count} + 1 - i) * 3 - 32, i,
                CASE i % 3 WHEN 0 THEN 'novel' END, CASE i % 2 WHEN 0 THEN i END
         FROM n;
         COMMIT;"
    );
    database.execute(&sql).await?;
    Ok(database)
}

/// All books as they are stored, in the form of the answer.
async fn stored_books(database: &Database) -> Result<Vec<Value>, Failure> {
    let sql = "SELECT json_group_array(json_object('id', id, 'book_name', book_name,
                   'author_id', author_id, 'price', price_cents / 100.0,
                   'description', description, 'year_of_publication', year_of_publication,
                   'genre', genre, 'language', language, 'pages', pages))
               FROM (SELECT * FROM book ORDER BY id)";
    rows(database, sql).await
}

async fn stored_authors(database: &Database) -> Result<Vec<Value>, Failure> {
    let sql = "SELECT json_group_array(json_object('id', id, 'name', name))
               FROM (SELECT * FROM author ORDER BY id)";
    rows(database, sql).await
}

async fn rows(database: &Database, sql: &str) -> Result<Vec<Value>, Failure> {
    let rows = stored(database, sql).await?;
    Ok(rows.as_array().cloned().unwrap_or_default())
}

/// What `sql` selects, a JSON text.
async fn stored(database: &Database, sql: &str) -> Result<Value, Failure> {
    let text: String = database.one(sql).await?;
    serde_json::from_str(&text).or_fail(sql)
}

/// Polls the future this often at most, then drops it.
async fn polled<F: Future>(future: F, mut polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

// 09.8: the learner's tests

async fn tests_of_the_learner() -> Outcome {
    let wrong = Fault::ALL.map(|fault| (fault.does(), bookstore(Some(fault))));
    own_tests::judge("books", shared_bookstore(), wrong).await
}
