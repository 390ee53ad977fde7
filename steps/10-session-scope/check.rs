//! What step 10 asks for: a transaction for each request, which a layer ends, and
//! beside it one for each call; calls of services in the log; 404 for what is unknown.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use check::gate::Gate;
use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, Reply, Service, Suite, ensure, equal, equal_json};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use step10::app;
use step10::authors::{AuthorService, NewAuthor};
use step10::books::{BookService, NewBook};
use step10::calls::{logged, logged_rows};
use step10::db::base::{Engine, EngineConfig, Rows};
use step10::error::Error;
use step10::session::{self, Session};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Level;

const ONE: &str = "/catalog";
const SEPARATELY: &str = "/catalog/separately";

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("10-session-scope", env!("CARGO_MANIFEST_DIR"))
        .check(
            "10.1",
            "the first use of a session begins a transaction that holds the write lock",
            first_use,
        )
        .check(
            "10.1",
            "later uses of a session continue its transaction",
            later_uses,
        )
        .check("10.1", "two requests have two sessions", two_requests)
        .check(
            "10.1",
            "a session that could not begin, or whose begin was dropped, can begin later",
            begin_again,
        )
        .check(
            "10.2",
            "the session is committed before the head of the answer is sent",
            commit_before_head,
        )
        .check(
            "10.2",
            "a status below 400 commits the session, every other one rolls it back",
            status_decides,
        )
        .check(
            "10.2",
            "a commit that fails replaces the answer, and nothing is stored",
            commit_fails,
        )
        .check(
            "10.2",
            "a session that has ended is an error for those who use it later",
            used_after_end,
        )
        .check(
            "10.2",
            "a request that is dropped leaves nothing and gives its connection back",
            dropped,
        )
        .check(
            "10.2",
            "a session that is still in use after the handler does not keep the client waiting",
            still_in_use,
        )
        .check(
            "10.2",
            "a body that is still being sent does not hold the session",
            stream_holds_nothing,
        )
        .check(
            "10.2",
            "with two connections, writes and reads are answered beside slow readers of lists",
            slow_readers,
        )
        .check(
            "10.2",
            "the application has the layer around all of its endpoints",
            app_has_the_layer,
        )
        .check(
            "10.3",
            "the author and the book are stored and answered, in one transaction",
            together,
        )
        .check(
            "10.3",
            "if the book is refused, neither of the two is stored",
            together_or_nothing,
        )
        .check(
            "10.3",
            "a body that cannot be read begins nothing, and neither does a request that reads",
            begins_nothing,
        )
        .check(
            "10.3",
            "if the commit fails, the answer is not 201, and nothing is stored",
            catalog_commit_fails,
        )
        .check(
            "10.3",
            "`create_in` writes in the transaction of its caller and does not end it",
            create_in,
        )
        .check(
            "10.3",
            "books and authors are answered as before",
            books_as_before,
        )
        .check(
            "10.4",
            "the author and the book are stored and answered, in two transactions",
            separately,
        )
        .check(
            "10.4",
            "if the book is refused, the author stays, and nothing else",
            author_stays,
        )
        .check(
            "10.5",
            "each call leaves one event, with its name and how it ended",
            calls,
        )
        .check(
            "10.5",
            "both ways to a session leave the same events",
            calls_of_catalog,
        )
        .check(
            "10.5",
            "the duration of a call is that from its begin to its end",
            duration_of_call,
        )
        .check(
            "10.5",
            "a call that fails leaves one event, and so does one that is dropped",
            failed_calls,
        )
        .check(
            "10.5",
            "SQL is logged at INFO with the setting, and not without it",
            echo,
        )
        .check("10.6", "a list leaves one event, after its last row", lists)
        .check(
            "10.6",
            "the duration of a list is that from its first poll to its end",
            duration_of_list,
        )
        .check(
            "10.6",
            "a list that fails leaves one event, and so does one that is dropped",
            failed_lists,
        )
        .check(
            "10.7",
            "an unknown order and an unknown customer are 404",
            unknown,
        )
        .check(
            "10.7",
            "an order without items and a customer without orders are not 404",
            empty_is_not_unknown,
        )
        .check("10.7", "all other answers are as before", other_answers)
        .run()
}

// 10.1: the first use

async fn first_use() -> Outcome {
    let database = Database::sample().await?;
    let mut desk = Desk::new(&engine_of_one(&database)?);
    let (session, reply) = desk.request(200).await?;
    ensure(
        can_write(&database).await,
        "a request that has not used its session yet; can another connection write?",
        "yes",
        "no: the database is locked",
    )?;
    drop(session.write().await.or_fail("session.write()")?);
    ensure(
        !can_write(&database).await,
        "session.write(), before anything is written; can another connection write?",
        "no: the transaction of the session holds the write lock from its begin on",
        "yes",
    )?;
    desk.answer(reply).await.map(drop)
}

async fn later_uses() -> Outcome {
    let database = Database::sample().await?;
    let mut desk = Desk::new(&engine_of_one(&database)?);
    let (session, reply) = desk.request(200).await?;
    insert(&session, "Ada").await?;
    // With a pool of one, a second transaction would wait for a connection.
    let asked = "session.write(), an INSERT, then session.write() again, with a pool of 1";
    let mut connection = session.write().await.or_fail(asked)?;
    let sql = "SELECT count(*) FROM author WHERE name = 'Ada'";
    let rows: i64 = sqlx::query_scalar(sql)
        .fetch_one(&mut *connection)
        .await
        .or_fail(asked)?;
    drop(connection);
    equal(format!("{asked}: the row is there"), 1, rows)?;
    let clone = session.clone();
    insert(&clone, "Bea").await?;
    equal(
        "an INSERT in the session of a request that is not answered yet; stored?",
        false,
        stored(&database, "Ada").await? || stored(&database, "Bea").await?,
    )?;
    desk.answer(reply).await?;
    uses_at_once().await
}

async fn uses_at_once() -> Outcome {
    let database = Database::sample().await?;
    let config = EngineConfig {
        max_connections: 2,
        ..EngineConfig::default()
    };
    let mut desk = Desk::new(&engine_with(&database, config)?);
    let (session, reply) = desk.request(200).await?;
    let clone = session.clone();
    let lock = database.lock_exclusively().await?;
    // The lock is released when both of them have begun to wait.
    let (first, second, released) = futures::join!(
        insert(&session, "Cleo"),
        insert(&clone, "Dora"),
        lock.release()
    );
    released?;
    first.and(second).map_err(|failure| {
        let asked = "two clones of a session that is not used yet call session.write() and \
                     INSERT at the same time, with a pool of 2";
        let expected = "one waits for the other's guard, and both write in one transaction";
        Failure::new(asked, expected, failure.got())
    })?;
    drop((session, clone));
    desk.answer(reply).await.map(drop)
}

async fn two_requests() -> Outcome {
    let database = Database::sample().await?;
    let config = EngineConfig {
        max_connections: 2,
        busy_timeout: Duration::from_millis(50),
        ..EngineConfig::default()
    };
    let mut desk = Desk::new(&engine_with(&database, config)?);
    let (first, first_reply) = desk.request(400).await?;
    insert(&first, "Ada").await?;
    let (second, second_reply) = desk.request(200).await?;
    let used = second.write().await.map(drop);
    busy(
        "session.write() of one request, then session.write() of another request",
        "busy: the transaction of the first request still holds the write lock",
        used,
    )?;
    // The gate lets the first one through, since it came first or both wait.
    drop((first, second));
    desk.gate.open();
    finished(first_reply).await?;
    finished(second_reply).await.map(drop)
}

fn busy(asked: &str, expected: &str, used: Result<(), Error>) -> Outcome {
    let Err(error) = used else {
        return Err(Failure::new(asked, expected, "success"));
    };
    let got = format!("{error:?}");
    let status = error.into_response().status();
    ensure(status == 503, asked, expected, got)
}

async fn begin_again() -> Outcome {
    let database = Database::sample().await?;
    let config = EngineConfig {
        max_connections: 1,
        busy_timeout: Duration::from_millis(200),
        ..EngineConfig::default()
    };
    let mut desk = Desk::new(&engine_with(&database, config)?);
    let (session, reply) = desk.request(200).await?;
    let lock = database.lock_exclusively().await?;
    let used = session.write().await.map(drop);
    lock.release().await?;
    let asked = "session.write() while another program holds the write lock";
    busy(asked, "an error that becomes status 503", used)?;
    insert(&session, "Ada").await?;
    drop(session);
    desk.answer(reply).await?;

    // A begin that was dropped may hold the lock a little longer on a busy machine.
    let config = EngineConfig {
        max_connections: 1,
        ..EngineConfig::default()
    };
    let mut desk = Desk::new(&engine_with(&database, config)?);
    for polls in 0..200 {
        let (session, reply) = desk.request(200).await?;
        let ended = polled(session.write(), polls).await.is_some();
        let name = format!("Bea {polls}");
        insert(&session, &name).await?;
        desk.answer(reply).await?;
        if ended {
            return Ok(());
        }
    }
    Err(Failure::new("session.write()", "an end", "200 polls"))
}

// 10.2: the layer

async fn status_decides() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let mut desk = Desk::new(&engine);
    for status in [
        200, 400, 201, 404, 202, 409, 204, 422, 301, 499, 302, 500, 304, 501, 399, 503, 200, 599,
    ] {
        let name = format!("Author {status}");
        database
            .execute(&format!("DELETE FROM author WHERE name = '{name}'"))
            .await?;
        let (session, reply) = desk.request(status).await?;
        insert(&session, &name).await?;
        let reply = desk.answer(reply).await?;
        reply.expect_status(status)?;
        let asked = format!("an INSERT in the session of a request whose handler answers {status}");
        equal(
            format!("{asked}; stored?"),
            status < 400,
            stored(&database, &name).await?,
        )?;
        free(&engine, &asked).await?;
    }
    let (session, reply) = desk.request(200).await?;
    drop(session);
    desk.answer(reply).await?.expect_status(200).map(drop)
}

async fn commit_before_head() -> Outcome {
    let database = Database::sample().await?;
    let mut desk = Desk::new(&engine_of_one(&database)?);
    let (session, mut reply) = desk.request(201).await?;
    insert(&session, "Ada").await?;
    let (begun, mut commits) = mpsc::unbounded_channel();
    let (release, released) = blocking::channel::<()>();
    {
        let mut connection = session.write().await.or_fail("session.write()")?;
        let mut handle = connection.lock_handle().await.or_fail("its handle")?;
        handle.set_commit_hook(move || {
            let _ = begun.send(());
            let _ = released.recv_timeout(Duration::from_secs(5));
            true
        });
    }
    drop(session);
    desk.gate.let_through(1);

    let asked = "POST, whose handler has written and answers 201; the COMMIT is slow";
    let early = |when: &str| {
        let expected = "an answer after the COMMIT has ended";
        Failure::new(asked, expected, format!("an answer {when}"))
    };
    tokio::select! {
        _ = &mut reply => return Err(early("before the COMMIT has begun, or without one")),
        _ = commits.recv() => {}
    }
    let others = async {
        for _ in 0..50 {
            desk.service.get("/").await?;
        }
        Ok::<_, Failure>(())
    };
    tokio::select! {
        biased;
        _ = &mut reply => return Err(early("while the COMMIT was still running")),
        others = others => others?,
    }
    let _ = release.send(());
    finished(reply).await?.expect_status(201)?;
    equal(
        format!("{asked}; stored when the answer is there?"),
        true,
        stored(&database, "Ada").await?,
    )
}

async fn commit_fails() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let mut desk = Desk::new(&engine);
    for status in [201, 200, 302] {
        let before = database.snapshot().await?;
        let (session, reply) = desk.request(status).await?;
        {
            let mut connection = session.write().await.or_fail("session.write()")?;
            // SQLite looks at the author when the transaction commits, and not before.
            let sql = "PRAGMA defer_foreign_keys = ON;
                       INSERT INTO author (name) VALUES ('Ada');
                       INSERT INTO book (book_name, author_id, price_cents) VALUES ('Emma', 99, 1)";
            let written = sqlx::raw_sql(sql).execute(&mut *connection).await;
            written.or_fail(sql)?;
        }
        drop(session);
        let reply = desk.answer(reply).await?;
        let asked = format!("the handler answers {status}, then the COMMIT fails");
        replaced(&asked, &reply)?;
        // The client has sent values that the database does not accept.
        equal(
            format!("{asked} because of a foreign key; the status"),
            400,
            reply.status,
        )?;
        free(&engine, &asked).await?;
        database.expect_unchanged(&asked, &before).await?;
    }
    rollback_fails().await
}

async fn rollback_fails() -> Outcome {
    let database = Database::sample().await?;
    let mut desk = Desk::new(&engine_of_one(&database)?);
    let (session, reply) = desk.request(404).await?;
    {
        let mut connection = session.write().await.or_fail("session.write()")?;
        let ended = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
        ended.or_fail("ROLLBACK")?;
    }
    drop(session);
    let reply = desk.answer(reply).await?;
    let asked = "the handler sends ROLLBACK itself and answers 404, so that of the layer fails";
    equal(asked, 500, reply.status)
}

/// The answer is that of an error, and not the one of the handler.
fn replaced(asked: &str, reply: &Reply) -> Outcome {
    ensure(
        reply.status >= 400,
        asked,
        "the answer of the error",
        format!("status {}: {}", reply.status, reply.text()),
    )?;
    ensure(
        reply.header("location").is_none(),
        asked,
        "no header Location",
        format!("{:?}", reply.headers),
    )?;
    contract::expect_problem(reply, reply.status)
}

async fn used_after_end() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let mut desk = Desk::new(&engine);
    for (status, uses) in [(200, true), (200, false), (404, true), (404, false)] {
        database.execute("DELETE FROM author WHERE id > 3").await?;
        let (session, reply) = desk.request(status).await?;
        if uses {
            insert(&session, "Ada").await?;
        }
        desk.answer(reply).await?.expect_status(status)?;
        let used = if uses { "used" } else { "not used" };
        let asked = format!(
            "a handler that has {used} its session answers {status}; after that session.write()"
        );
        let written = session.write().await.map(drop);
        ensure(
            written.is_err(),
            &asked,
            "an error: nobody would end this transaction",
            "success",
        )?;
        free(&engine, &asked).await?;
    }
    Ok(())
}

async fn dropped() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let gate = Gate::closed();
    let visits = gate.clone();
    let handler = move |session: Session| {
        let gate = visits.clone();
        async move {
            if insert(&session, "Ada").await.is_err() {
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            gate.pass().await;
            StatusCode::OK
        }
    };
    let router = Router::new()
        .route("/", post(handler))
        .layer(from_fn_with_state(engine.clone(), session::layer));
    let service = Service::start(router);
    let before = database.snapshot().await?;
    for _ in 0..3 {
        tokio::select! {
            reply = service.post("/", "text/plain", "") => {
                return Err(reply?.failure("a handler that waits, after an INSERT"));
            }
            () = gate.wait_until_in_flight(1) => {}
        }
        // The client is gone now.
        gate.wait_until_empty().await;
        let asked = "POST, whose client closes its connection when the handler has written";
        free(&engine, asked).await?;
        database.expect_unchanged(asked, &before).await?;
    }
    Ok(())
}

async fn still_in_use() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let mut desk = Desk::new(&engine);
    let ended = Error::SessionEnded.into_response().status();
    for status in [200, 404] {
        let (session, reply) = desk.request(status).await?;
        insert(&session, "Ada").await?;
        let guard = session.write().await.or_fail("session.write()")?;
        let reply = desk.answer(reply).await?;
        let asked = format!(
            "something still holds what session.write() has returned when the handler has \
             answered {status}"
        );
        equal(
            format!("{asked}; the status of Error::SessionEnded"),
            ended.as_u16(),
            reply.status,
        )?;
        replaced(&asked, &reply)?;
        drop(guard);
        drop(session);
        free(&engine, &asked).await?;
        equal(
            format!("{asked}; stored?"),
            false,
            stored(&database, "Ada").await?,
        )?;
    }
    Ok(())
}

async fn stream_holds_nothing() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let (send, mut used) = mpsc::unbounded_channel();
    let handler = move |session: Session| {
        let send = send.clone();
        async move {
            if insert(&session, "Ada").await.is_err() {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            let pieces = stream::iter(0..).then(move |number| {
                let (session, send) = (session.clone(), send.clone());
                async move {
                    if number == 0 {
                        let _ = send.send(session.write().await.map(drop));
                    }
                    Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4096]))
                }
            });
            Body::from_stream(pieces).into_response()
        }
    };
    let router = Router::new()
        .route("/", get(handler))
        .layer(from_fn_with_state(engine.clone(), session::layer));
    let service = Service::start(router);
    let reply = service.open("/").await?;
    reply.expect_status(200)?;
    let asked = "a handler that has written answers with a long stream, which owns its session";
    free(&engine, &format!("{asked}; while the client reads nothing")).await?;
    equal(
        format!("{asked}; stored when the head is there?"),
        true,
        stored(&database, "Ada").await?,
    )?;
    let used = used.recv().await.or_fail(asked)?;
    ensure(
        used.is_err(),
        format!("{asked}, and calls session.write() for its first piece"),
        "an error: the session has ended",
        "success",
    )
}

async fn slow_readers() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(20_000).await?;
    let config = EngineConfig {
        max_connections: 2,
        acquire_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    };
    let service = Service::start(app::app(engine_with(&database, config)?));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let reply = service.open("/api/customers").await?;
        reply.expect_status(200)?;
        readers.push(reply);
    }
    let ada = json!({"name": "Ada"});
    service
        .post_json("/author", &ada)
        .await?
        .expect_status(201)?;
    service.get("/book/1").await?.expect_status(200).map(drop)
}

async fn app_has_the_layer() -> Outcome {
    let (service, _database) = fresh().await?;
    let recording = Recording::start();
    // Whether the handler answers, or is not written yet, does not matter here.
    let _ = service.post_json(ONE, &json!({})).await;
    let logged = recording.logged(Level::ERROR);
    ensure(
        !logged.iter().any(|event| event.contains("NoSession")),
        "POST /catalog, whose handler takes the session of its request",
        "a session: the router in `app` must have the layer around the endpoints of the catalog",
        list(&logged),
    )
}

// 10.3: way one

async fn together() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::catalog_stored(&service, ONE).await?;

    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let ends = Ends::of(&engine).await?;
    let service = Service::start(app::app(engine));
    let reply = service
        .post_json(ONE, &contract::new_entry("Ada", "Notes"))
        .await?;
    let asked = format!("{}, with a pool of 1", reply.asked());
    reply.expect_status(201)?;
    ends.expect(&asked, "1 COMMIT: both writes are in one transaction", 1, 0)?;
    equal(
        format!("{asked}; stored when the answer is there?"),
        true,
        stored(&database, "Ada").await?,
    )
}

async fn together_or_nothing() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let ends = Ends::of(&engine).await?;
    let service = Service::start(app::app(engine.clone()));
    let before = database.snapshot().await?;
    contract::catalog_book_refused(&service, ONE).await?;
    let asked = "POST /catalog, with books that are refused";
    database.expect_unchanged(asked, &before).await?;
    equal(format!("{asked}: COMMITs"), 0, ends.take().0)?;
    free(&engine, asked).await?;

    database.refuse("INSERT ON book").await?;
    let body = contract::new_entry("Ada", "Notes").to_string();
    services_fault(&service, &database, ONE, &body).await?;
    database.allow().await?;
    database.execute("ALTER TABLE book RENAME TO gone").await?;
    services_fault(&service, &database, ONE, &body).await
}

/// The answer is 500 and shows nothing of the cause, which is in the log.
async fn services_fault(service: &Service, database: &Database, path: &str, body: &str) -> Outcome {
    let before = database.snapshot().await?;
    let recording = Recording::start();
    let reply = send(service, Method::POST, path, body).await?;
    reply.expect_status(500)?;
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

async fn begins_nothing() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let ends = Ends::of(&engine).await?;
    let service = Service::start(app::app(engine));
    let before = database.snapshot().await?;
    contract::catalog_author_refused(&service, ONE).await?;
    let asked = "POST /catalog, with authors and bodies that are refused";
    database.expect_unchanged(asked, &before).await?;
    equal(format!("{asked}: COMMITs"), 0, ends.take().0)?;

    // A request that begins a transaction now waits for the lock, and is refused.
    let lock = database.lock_exclusively().await?;
    for (method, path, body, status) in [
        (Method::GET, "/", "", 200),
        (Method::GET, "/app/info", "", 200),
        (Method::GET, "/nowhere", "", 404),
        (Method::GET, "/book", "", 200),
        (Method::GET, "/book/99", "", 404),
        (Method::GET, "/author/1", "", 200),
        (Method::GET, "/api/customers", "", 200),
        (Method::GET, "/api/orders/1", "", 200),
        (Method::GET, "/api/order_total/1", "", 200),
        (Method::POST, "/author", "{}", 400),
        (Method::POST, ONE, "{}", 400),
    ] {
        let reply = send(&service, method, path, body).await?;
        let asked = format!(
            "while another program writes, with a pool of 1:\n{}",
            reply.asked()
        );
        equal(&asked, status, reply.status)?;
        ends.expect(&asked, "neither COMMIT nor ROLLBACK", 0, 0)?;
    }
    lock.release().await
}

async fn catalog_commit_fails() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    // A deferred foreign key is looked at when the transaction commits.
    for sql in [
        "CREATE TABLE shelf (
             author_id INTEGER NOT NULL REFERENCES author (id) DEFERRABLE INITIALLY DEFERRED
         )",
        "CREATE TRIGGER put AFTER INSERT ON book BEGIN INSERT INTO shelf VALUES (2222); END",
    ] {
        database.execute(sql).await?;
    }
    let service = Service::start(app::app(engine.clone()));
    let before = database.snapshot().await?;
    let reply = service
        .post_json(ONE, &contract::new_entry("Ada", "Notes"))
        .await?;
    let asked = format!(
        "a deferred foreign key makes the COMMIT fail:\n{}",
        reply.asked()
    );
    replaced(&asked, &reply)?;
    free(&engine, &asked).await?;
    database.expect_unchanged(&asked, &before).await
}

async fn create_in() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let (authors, books) = (
        AuthorService::new(engine.clone()),
        BookService::new(engine.clone()),
    );
    let before = database.snapshot().await?;
    for commits in [false, true] {
        let mut transaction = engine.begin().await.or_fail("engine.begin()")?;
        let asked = "AuthorService::create_in, in a transaction of the check, with a pool of 1";
        let author = authors
            .create_in(&mut transaction, &author("Ada"))
            .await
            .or_fail(asked)?;
        let asked = "BookService::create_in, in the same transaction";
        let new = book("Notes", author.id)?;
        let created = books
            .create_in(&mut transaction, &new)
            .await
            .or_fail(asked)?;
        equal(asked, author.id, created.author_id)?;
        let asked = "`create_in` of an author and a book";
        database
            .expect_unchanged(&format!("{asked}, before the COMMIT"), &before)
            .await?;
        if commits {
            transaction.commit().await.or_fail("commit")?;
        } else {
            drop(transaction);
        }
        free(&engine, asked).await?;
        equal(
            format!("{asked}, committed: {commits}; stored?"),
            commits,
            stored(&database, "Ada").await?,
        )?;
    }

    let before = database.snapshot().await?;
    let mut transaction = engine.begin().await.or_fail("engine.begin()")?;
    for (name, kind) in [("Ada", "conflict"), ("", "unprocessable")] {
        let result = authors.create_in(&mut transaction, &author(name)).await;
        let asked = format!("AuthorService::create_in, with the name {name:?}");
        ended(&asked, kind, &result)?;
    }
    for (new, kind) in [
        (book("Notes", 1)?, "conflict"),
        (book("", 1)?, "unprocessable"),
        (book("New", 99_999)?, "unprocessable"),
    ] {
        let result = books.create_in(&mut transaction, &new).await;
        let (name, id) = (&new.book_name, new.author_id);
        let asked = format!("BookService::create_in, with the name {name:?} and author {id}");
        ended(&asked, kind, &result)?;
    }
    transaction.commit().await.or_fail("commit")?;
    let asked = "`create_in` of authors and books that are refused; then the caller commits";
    database.expect_unchanged(asked, &before).await
}

fn ended<T>(asked: &str, kind: &str, result: &Result<T, Error>) -> Outcome {
    let got = result.as_ref().map_or_else(Error::kind, |_| "ok");
    equal(asked, kind, got)
}

fn author(name: &str) -> NewAuthor {
    let name = name.to_owned();
    NewAuthor { name }
}

fn book(name: &str, author_id: i64) -> Result<NewBook, Failure> {
    let mut book = contract::new_book(name);
    book["author_id"] = json!(author_id);
    serde_json::from_value(book).or_fail("NewBook from JSON")
}

async fn books_as_before() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::new_authors(&service).await?;
    let (service, database) = fresh().await?;
    let before = database.snapshot().await?;
    contract::author_refusals(&service).await?;
    contract::book_refusals(&service).await?;
    contract::replace_refusals(&service).await?;
    contract::change_refusals(&service).await?;
    let asked = "authors and books that are refused";
    database.expect_unchanged(asked, &before).await?;
    contract::pages(&service, "/book", &contract::sample_books()).await?;
    contract::pages(&service, "/author", &contract::sample_authors()).await?;
    contract::page_refusals(&service, "/book").await?;
    contract::author_by_id(&service).await?;
    contract::book_by_id(&service).await?;
    contract::new_books(&service).await?;
    let (service, _database) = fresh().await?;
    contract::one_name_at_once(&service).await?;
    let (service, _database) = fresh().await?;
    contract::book_replaced(&service).await?;
    let (service, _database) = fresh().await?;
    contract::book_changed(&service).await?;
    let (service, _database) = fresh().await?;
    contract::book_cleared(&service).await?;
    let (service, _database) = fresh().await?;
    contract::changes_at_once(&service).await?;
    let (service, _database) = fresh().await?;
    contract::author_removed(&service).await?;
    let (service, _database) = fresh().await?;
    contract::book_removed(&service).await
}

// 10.4: way two

async fn separately() -> Outcome {
    let (service, _database) = fresh().await?;
    contract::catalog_stored(&service, SEPARATELY).await?;

    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let ends = Ends::of(&engine).await?;
    let service = Service::start(app::app(engine));
    let entry = contract::new_entry("Ada", "Notes");
    let reply = service.post_json(SEPARATELY, &json!({})).await?;
    contract::expect_problem(&reply, 400)?;
    ends.expect(reply.asked(), "neither COMMIT nor ROLLBACK", 0, 0)?;
    let reply = service.post_json(SEPARATELY, &entry).await?;
    let asked = format!("{}, with a pool of 1", reply.asked());
    reply.expect_status(201)?;
    ends.expect(&asked, "2 COMMITs: each call has its own transaction", 2, 0)
}

async fn author_stays() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let service = Service::start(app::app(engine.clone()));
    let before = database.snapshot().await?;
    contract::catalog_author_refused(&service, SEPARATELY).await?;
    let asked = "POST /catalog/separately, with authors and bodies that are refused";
    database.expect_unchanged(asked, &before).await?;

    contract::catalog_book_refused(&service, SEPARATELY).await?;
    let asked = "POST /catalog/separately, with books that are refused";
    let sql = "SELECT json_object(
        'authors', (SELECT json_group_array(name)
                    FROM (SELECT name FROM author WHERE id > 3 ORDER BY id)),
        'books', (SELECT count(*) FROM book WHERE author_id > 3))";
    let text: String = database.one(sql).await?;
    let got: Value = serde_json::from_str(&text).or_fail(sql)?;
    let authors = contract::AUTHORS_OF_REFUSED_BOOKS;
    let expected = json!({"authors": authors, "books": 0});
    equal_json(
        format!("{asked}: what is new in the store"),
        &expected,
        &got,
    )?;
    let changes = before.difference(&database.snapshot().await?);
    equal(
        format!("{asked}: rows that are new or gone"),
        authors.len(),
        changes.lines().count(),
    )?;
    free(&engine, asked).await
}

// 10.5: calls

#[allow(clippy::too_many_lines)] // it is a table
async fn calls() -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    let recording = Recording::start();
    let order = json!({"customer_id": 1, "items": [{"id": 2, "quantity": 1}]});
    let unknown = json!({"customer_id": 77, "items": [{"id": 2, "quantity": 1}]});
    let emma = contract::new_book("Emma");
    let none = Value::Null;
    for (method, path, body, expected) in [
        (
            Method::GET,
            "/api/order_total/1",
            &none,
            &["orders.total: ok"][..],
        ),
        (
            Method::GET,
            "/api/orders_total?orders=1,2",
            &none,
            &["orders.totals: ok"],
        ),
        (
            Method::POST,
            "/api/add_new_order",
            &order,
            &["orders.place: ok"],
        ),
        (
            Method::POST,
            "/api/add_new_order",
            &unknown,
            &["orders.place: unprocessable"],
        ),
        (Method::GET, "/author", &none, &["authors.list: ok"]),
        (Method::GET, "/author/1", &none, &["authors.get: ok"]),
        (
            Method::GET,
            "/author/99",
            &none,
            &["authors.get: not found"],
        ),
        (
            Method::POST,
            "/author",
            &json!({"name": "Ada"}),
            &["authors.create: ok"],
        ),
        (
            Method::POST,
            "/author",
            &json!({"name": "Ada"}),
            &["authors.create: conflict"],
        ),
        (
            Method::POST,
            "/author",
            &json!({"name": ""}),
            &["authors.create: unprocessable"],
        ),
        (
            Method::DELETE,
            "/author/1",
            &none,
            &["authors.delete: conflict"],
        ),
        (
            Method::DELETE,
            "/author/99",
            &none,
            &["authors.delete: not found"],
        ),
        (Method::GET, "/book", &none, &["books.list: ok"]),
        (Method::GET, "/book/1", &none, &["books.get: ok"]),
        (Method::GET, "/book/99", &none, &["books.get: not found"]),
        (Method::POST, "/book", &emma, &["books.create: ok"]),
        (Method::POST, "/book", &emma, &["books.create: conflict"]),
        (
            Method::PUT,
            "/book/1",
            &contract::new_book("Jane"),
            &["books.replace: ok"],
        ),
        (
            Method::PUT,
            "/book/99",
            &emma,
            &["books.replace: not found"],
        ),
        (
            Method::PATCH,
            "/book/1",
            &json!({"pages": 5}),
            &["books.update: ok"],
        ),
        (
            Method::PATCH,
            "/book/1",
            &json!({"pages": 0}),
            &["books.update: unprocessable"],
        ),
        (Method::DELETE, "/book/1", &none, &["books.delete: ok"]),
        (
            Method::DELETE,
            "/book/1",
            &none,
            &["books.delete: not found"],
        ),
        // The service is not called.
        (Method::GET, "/author/x", &none, &[]),
        (Method::GET, "/app/info", &none, &[]),
    ] {
        recording.clear();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = send(&service, method, path, &body).await?;
        expect_calls(reply.asked(), &recording, expected)?;
    }
    Ok(())
}

async fn calls_of_catalog() -> Outcome {
    let (service, _database) = fresh().await?;
    let recording = Recording::start();
    for (path, author) in [(ONE, "Ada"), (SEPARATELY, "Bea")] {
        for (author, book, expected) in [
            (author, path, ["authors.create: ok", "books.create: ok"]),
            (
                "Cleo",
                path,
                ["authors.create: ok", "books.create: conflict"],
            ),
        ] {
            recording.clear();
            let entry = contract::new_entry(author, book);
            let reply = service.post_json(path, &entry).await?;
            expect_calls(reply.asked(), &recording, &expected)?;
        }
    }
    Ok(())
}

async fn duration_of_call() -> Outcome {
    let recording = Recording::start();
    let start = Instant::now();
    let inner = logged("check.slow", async {
        let start = Instant::now();
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(start.elapsed())
    });
    let asked = "logged(\"check.slow\", …), with a call that waits for 20 ms";
    let inner = inner.await.or_fail(asked)?;
    let outer = start.elapsed();
    expect_calls(asked, &recording, &["check.slow: ok"])?;
    expect_duration(asked, &recording, inner, outer)
}

/// The one event has a duration that is at least `inner` and at most `outer`.
fn expect_duration(
    asked: &str,
    recording: &Recording,
    inner: Duration,
    outer: Duration,
) -> Outcome {
    let events = recording.logged_by(CALLS);
    let event = events.first().or_fail(asked)?;
    let duration = field(event, "duration").and_then(seconds);
    ensure(
        duration.is_some_and(|it| inner.as_secs_f64() <= it && it <= outer.as_secs_f64()),
        asked,
        format!("`duration` with the `Debug` form of the call's time, from {inner:?} to {outer:?}"),
        event,
    )
}

/// Reads the `Debug` form of a `Duration`: `20.5ms`.
fn seconds(text: &str) -> Option<f64> {
    let unit = text.find(|it: char| it != '.' && !it.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "ns" => 1e-9,
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

async fn failed_calls() -> Outcome {
    let recording = Recording::start();
    let asked = "logged(\"check.fails\", …), with a call that fails";
    let failed = logged("check.fails", async {
        tokio::task::yield_now().await;
        Err::<(), _>(Error::conflict("name", "taken"))
    });
    ended(asked, "conflict", &failed.await)?;
    expect_calls(asked, &recording, &["check.fails: conflict"])?;

    recording.clear();
    let panics = || -> Result<(), Error> { resume_unwind(Box::new("a panic of the check")) };
    let call = logged("check.panics", async { panics() });
    let panicked = AssertUnwindSafe(call).catch_unwind().await;
    let asked = "logged(\"check.panics\", …), with a call that panics";
    ensure(panicked.is_err(), asked, "the panic goes on", "no panic")?;
    expect_calls(asked, &recording, &["check.panics: cancelled"])?;

    recording.clear();
    let asked = "logged(\"check.waits\", …), polled once and dropped after 20 ms";
    let start = Instant::now();
    let waits = logged("check.waits", pending::<Result<(), Error>>());
    let inner = {
        let mut waits = pin!(waits);
        poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_ready())).await;
        let start = Instant::now();
        tokio::time::sleep(Duration::from_millis(20)).await;
        expect_calls(format!("{asked}; before the drop"), &recording, &[])?;
        start.elapsed()
    };
    // `waits` was pinned by value, so it is dropped here.
    let outer = start.elapsed();
    expect_calls(asked, &recording, &["check.waits: cancelled"])?;
    expect_duration(asked, &recording, inner, outer)?;

    let database = Database::sample().await?;
    let config = EngineConfig {
        busy_timeout: Duration::from_millis(50),
        ..EngineConfig::default()
    };
    let service = Service::start(app::app(engine_with(&database, config)?));
    let ada = json!({"name": "Ada"});
    let lock = database.lock_exclusively().await?;
    recording.clear();
    let reply = service.post_json("/author", &ada).await?;
    lock.release().await?;
    contract::expect_problem(&reply, 503)?;
    let asked = format!(
        "while another program holds the write lock:\n{}",
        reply.asked()
    );
    expect_calls(&asked, &recording, &["authors.create: busy"])?;

    database
        .execute("ALTER TABLE author RENAME TO gone")
        .await?;
    for (method, path, body, expected) in [
        (Method::GET, "/author/1", "", "authors.get: database failed"),
        (Method::GET, "/author", "", "authors.list: database failed"),
        (
            Method::POST,
            "/author",
            &*ada.to_string(),
            "authors.create: database failed",
        ),
    ] {
        recording.clear();
        let reply = send(&service, method, path, body).await?;
        contract::expect_problem(&reply, 500)?;
        expect_calls(reply.asked(), &recording, &[expected])?;
    }
    Ok(())
}

async fn echo() -> Outcome {
    let database = Database::sample().await?;
    for (echo, level) in [(false, Level::DEBUG), (true, Level::INFO)] {
        let config = EngineConfig {
            echo,
            ..EngineConfig::default()
        };
        let service = Service::start(app::app(engine_with(&database, config)?));
        let recording = Recording::start();
        service.get("/book/1").await?.expect_status(200)?;
        // One that failed in the check before may be recorded only now.
        let statements = recording.statements().into_iter();
        let of_book = statements.filter(|it| it.sql.contains("FROM book"));
        let levels: Vec<Level> = of_book.map(|it| it.level).collect();
        equal(
            format!("GET /book/1, with `echo: {echo}`: the levels of the statements in the log"),
            vec![level],
            levels,
        )?;
    }
    Ok(())
}

// 10.6: lists

async fn lists() -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    let recording = Recording::start();
    for (path, expected) in [
        ("/api/customers", "customers.list: ok"),
        ("/api/orders/1", "orders.list_of_customer: ok"),
        (
            "/api/orders_between_dates/2024-03-22/2024-03-17",
            "orders.list_between: ok",
        ),
    ] {
        recording.clear();
        let reply = service.get(path).await?;
        reply.expect_status(200)?;
        until_logged(&service, &recording).await?;
        expect_calls(reply.asked(), &recording, &[expected])?;
    }

    recording.clear();
    let asked = "logged_rows(\"check.rows\", …), of 3 rows";
    let rows: Rows<i32> = stream::iter([1, 2, 3]).map(Ok).boxed();
    let mut logged = logged_rows("check.rows", rows);
    for row in 1..=3 {
        let got = logged.try_next().await.or_fail(asked)?;
        equal(asked, Some(row), got)?;
        expect_calls(format!("{asked}; after row {row}"), &recording, &[])?;
    }
    equal(asked, None, logged.try_next().await.or_fail(asked)?)?;
    drop(logged);
    expect_calls(asked, &recording, &["check.rows: ok"])
}

/// Lets the service do other work until it has logged a call: a list may be dropped
/// shortly after its last piece has been sent.
async fn until_logged(service: &Service, recording: &Recording) -> Outcome {
    for _ in 0..100 {
        if !recording.logged_by(CALLS).is_empty() {
            break;
        }
        service.get("/").await?;
    }
    Ok(())
}

async fn duration_of_list() -> Outcome {
    let recording = Recording::start();
    let rows: Rows<i32> = stream::iter([1, 2])
        .then(|row| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(row)
        })
        .boxed();
    let asked = "logged_rows(\"check.rows\", …), of 2 rows that take 10 ms each, first polled \
                 10 ms after the call";
    let mut rows = logged_rows("check.rows", rows);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    while rows.try_next().await.or_fail(asked)?.is_some() {}
    drop(rows);
    let outer = start.elapsed();
    expect_calls(asked, &recording, &["check.rows: ok"])?;
    // Each timer takes at least its 10 ms.
    expect_duration(asked, &recording, Duration::from_millis(20), outer)
}

async fn failed_lists() -> Outcome {
    let recording = Recording::start();
    let asked = "logged_rows(\"check.rows\", …), whose second row is an error";
    let rows: Rows<i32> = stream::iter([Ok(1), Err(Error::NotFound("gone"))]).boxed();
    let mut rows = logged_rows("check.rows", rows);
    equal(asked, Some(1), rows.try_next().await.or_fail(asked)?)?;
    ended(asked, "not found", &rows.try_next().await)?;
    // What the stream yields after its error does not matter.
    let _ = rows.try_next().await;
    drop(rows);
    let asked = format!("{asked}; polled once more after it");
    expect_calls(asked, &recording, &["check.rows: not found"])?;

    recording.clear();
    let asked =
        "logged_rows(\"check.rows\", …), dropped after the first row, while the second takes long";
    let first = stream::iter([Ok(1)]);
    let rows: Rows<i32> = first.chain(stream::pending()).boxed();
    let mut rows = logged_rows("check.rows", rows);
    let row = polled(rows.try_next(), 1).await;
    let expected = "the first row: the stream does not wait for the second";
    ensure(
        matches!(row, Some(Ok(Some(1)))),
        asked,
        expected,
        format!("{row:?}"),
    )?;
    drop(rows);
    expect_calls(asked, &recording, &["check.rows: cancelled"])?;

    let database = Database::sample().await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    database
        .execute("ALTER TABLE orders RENAME TO gone")
        .await?;
    for (path, expected) in [
        ("/api/orders/1", "orders.list_of_customer: database failed"),
        (
            "/api/orders_between_dates/2024-03-22/2024-03-17",
            "orders.list_between: database failed",
        ),
    ] {
        recording.clear();
        let reply = service.get(path).await?;
        contract::expect_problem(&reply, 500)?;
        until_logged(&service, &recording).await?;
        expect_calls(reply.asked(), &recording, &[expected])?;
    }
    Ok(())
}

// 10.7: what is unknown

async fn unknown() -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(app::app(engine_of_one(&database)?));
    contract::order_total_404_when_unknown(&service).await?;
    contract::orders_of_unknown_customer_404(&service).await?;
    let lines = [("accept", "application/x-ndjson")];
    let reply = service.get_with("/api/orders/77", &lines).await?;
    contract::expect_problem(&reply, 404)?;
    for id in ["0", "-1", "9223372036854775807"] {
        for path in ["/api/orders", "/api/order_total"] {
            let reply = service.get(&format!("{path}/{id}")).await?;
            contract::expect_problem(&reply, 404)?;
        }
    }
    // One that was there.
    database
        .execute("DELETE FROM order_items; DELETE FROM orders; DELETE FROM customer WHERE id = 1")
        .await?;
    for path in ["/api/orders/1", "/api/order_total/1"] {
        contract::expect_problem(&service.get(path).await?, 404)?;
    }
    Ok(())
}

async fn empty_is_not_unknown() -> Outcome {
    let (service, database) = fresh().await?;
    let reply = service.get("/api/order_total/3").await?;
    reply.expect_json(200, &json!({"Order Total": null}))?;
    database.add_customer(78, "Nobody's customer").await?;
    let reply = service.get("/api/orders/78").await?;
    reply.expect_json(200, &json!([]))?;
    let reply = service.get("/api/orders_total?orders=77,1").await?;
    reply.expect_json(200, &json!([null, 30.0]))
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::app_info(&service, env!("CARGO_PKG_VERSION")).await?;
    contract::format_by_accept(&service, "/api/customers").await?;
    contract::customers_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::customers_nested_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total(&service, &database).await?;
    let recording = Recording::start();
    let reply = service.get("/api/order_total/1").await?;
    let sent = recording.statements().len();
    equal(format!("{}; statements", reply.asked()), 1, sent)?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates_ndjson(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    contract::new_order_refusals(&service, &database).await?;

    // A query that fails does not say what is unknown.
    for (table, path) in [
        ("customer", "/api/orders/77"),
        ("orders", "/api/order_total/77"),
    ] {
        database
            .execute(&format!("ALTER TABLE {table} RENAME TO no_{table}"))
            .await?;
        let reply = service.get(path).await?;
        let asked = format!("{}, without the table {table}", reply.asked());
        equal(asked, 500, reply.status)?;
    }
    Ok(())
}

// What the checks have in common

fn engine_with(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

/// An engine with a single connection.
fn engine_of_one(database: &Database) -> Result<Engine, Failure> {
    let config = EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        busy_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    };
    engine_with(database, config)
}

/// A service over a database of its own. The service is dropped first.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let engine = engine_with(&database, EngineConfig::default())?;
    Ok((Service::start(app::app(engine)), database))
}

async fn send(service: &Service, method: Method, path: &str, body: &str) -> Result<Reply, Failure> {
    let json = [("content-type", "application/json")];
    let headers = if body.is_empty() { &[][..] } else { &json };
    service.send(method, path, headers, body.to_owned()).await
}

/// A service behind the layer whose handler hands its session to the check, and answers
/// when the check lets it.
struct Desk {
    service: Arc<Service>,
    sessions: mpsc::UnboundedReceiver<Session>,
    gate: Gate,
}

type Waiting = JoinHandle<Result<Reply, Failure>>;

impl Desk {
    fn new(engine: &Engine) -> Self {
        let (send, sessions) = mpsc::unbounded_channel();
        let gate = Gate::closed();
        let visits = gate.clone();
        let handler = move |Path(status): Path<u16>, session: Session| {
            let (send, gate) = (send.clone(), visits.clone());
            async move {
                let _ = send.send(session);
                gate.pass().await;
                StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT)
            }
        };
        let router = Router::new()
            .route("/answer/{status}", post(handler))
            .route("/", get(async || ()))
            .layer(from_fn_with_state(engine.clone(), session::layer));
        Self {
            service: Arc::new(Service::start(router)),
            sessions,
            gate,
        }
    }

    /// Sends a request whose handler will answer `status`, and waits until it runs.
    async fn request(&mut self, status: u16) -> Result<(Session, Waiting), Failure> {
        let service = Arc::clone(&self.service);
        let mut reply = tokio::spawn(async move {
            let path = format!("/answer/{status}");
            service.post(&path, "text/plain", "").await
        });
        tokio::select! {
            Some(session) = self.sessions.recv() => Ok((session, reply)),
            reply = &mut reply => {
                let reply = reply.or_fail("a request")??;
                Err(reply.failure("a handler that runs, with the session of its request"))
            }
        }
    }

    /// Lets the handler answer, and returns what the client gets.
    async fn answer(&self, reply: Waiting) -> Result<Reply, Failure> {
        self.gate.let_through(1);
        finished(reply).await
    }
}

async fn finished(reply: Waiting) -> Result<Reply, Failure> {
    reply.await.or_fail("a request")?
}

async fn insert(session: &Session, name: &str) -> Outcome {
    let asked = "session.write(), and an INSERT with what it returns";
    let mut connection = session.write().await.or_fail(asked)?;
    sqlx::query("INSERT INTO author (name) VALUES ($1)")
        .bind(name.to_owned())
        .execute(&mut *connection)
        .await
        .or_fail(asked)
        .map(drop)
}

/// Whether another connection finds an author with this name.
async fn stored(database: &Database, name: &str) -> Result<bool, Failure> {
    let sql = format!("SELECT count(*) FROM author WHERE name = '{name}'");
    Ok(database.one::<i64>(&sql).await? > 0)
}

/// Whether another connection could begin to write at once.
async fn can_write(database: &Database) -> bool {
    let begin = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
    database.execute(begin).await.is_ok()
}

/// Fails unless the pool's one connection is free, without an open transaction, and the
/// write lock is free too.
async fn free(engine: &Engine, asked: &str) -> Outcome {
    let begun = engine.begin().await.map(drop);
    begun.map_err(|error| {
        let expected = "a free connection, and the write lock is free";
        let asked = format!("{asked}; then another transaction begins, with a pool of 1");
        Failure::new(asked, expected, format!("error: {error:?}"))
    })
}

/// Counts how transactions of an engine with one connection end.
struct Ends {
    commits: Arc<AtomicUsize>,
    rollbacks: Arc<AtomicUsize>,
}

impl Ends {
    async fn of(engine: &Engine) -> Result<Self, Failure> {
        let (commits, rollbacks) = (Arc::default(), Arc::default());
        let mut connection = engine.pool().acquire().await.or_fail("a connection")?;
        let mut handle = connection.lock_handle().await.or_fail("its handle")?;
        let counter: Arc<AtomicUsize> = Arc::clone(&commits);
        handle.set_commit_hook(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
        let counter: Arc<AtomicUsize> = Arc::clone(&rollbacks);
        handle.set_rollback_hook(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        Ok(Self { commits, rollbacks })
    }

    /// How many COMMITs and ROLLBACKs there were since the last call.
    fn take(&self) -> (usize, usize) {
        let take = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
        (take(&self.commits), take(&self.rollbacks))
    }

    fn expect(&self, asked: &str, expected: &str, commits: usize, rollbacks: usize) -> Outcome {
        let got = self.take();
        ensure(
            got == (commits, rollbacks),
            asked,
            expected,
            format!("{} COMMITs and {} ROLLBACKs", got.0, got.1),
        )
    }
}

const CALLS: &str = "marketsvc::calls";

/// Fails unless these are the events of calls so far, each `call: outcome`.
fn expect_calls(asked: impl Display, recording: &Recording, expected: &[&str]) -> Outcome {
    let events = recording.logged_by(CALLS);
    let got: Vec<String> = events
        .iter()
        .map(|event| {
            let part = |name| field(event, name).unwrap_or("(missing)");
            format!("{}: {}", part("call"), part("outcome"))
        })
        .collect();
    let asked = format!("{asked}\nthe events of target {CALLS}, `call: outcome`");
    ensure(got == expected, &asked, list(expected), list(&got))?;
    let info = recording.logged(Level::INFO);
    for event in &events {
        ensure(
            info.contains(event),
            &asked,
            "events of level INFO",
            format!("another level: {event}"),
        )?;
        ensure(
            field(event, "duration").and_then(seconds).is_some(),
            &asked,
            "a field `duration`, in the `Debug` form of a `Duration`",
            event,
        )?;
    }
    Ok(())
}

fn list(events: &[impl AsRef<str>]) -> String {
    match events {
        [] => "no event".to_owned(),
        events => {
            let events: Vec<&str> = events.iter().map(AsRef::as_ref).collect();
            events.join("\n")
        }
    }
}

/// The value of a field of an event: `call=books.get duration=1ms outcome=not found`.
fn field<'a>(event: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = event.split_once(&format!("{name}="))?;
    let end = ["call", "duration", "outcome"]
        .iter()
        .filter_map(|other| value.find(&format!(" {other}=")))
        .min();
    Some(value[..end.unwrap_or(value.len())].trim_matches('"'))
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
