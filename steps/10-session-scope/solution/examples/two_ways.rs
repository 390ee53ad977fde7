//! Four requests write twice each, and wait 100 ms between their writes, as for the
//! answer of another service. The pool has two connections. How long do the four take,
//! how long does each of them hold a connection, and how long does a request wait that
//! only reads?
//!
//! `./run.sh run 10 two_ways`

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use check::{Database, Failure, OrFail, Service};
use futures::future::{join, try_join_all};
use step10_solution::authors::{AuthorService, NewAuthor};
use step10_solution::books;
use step10_solution::db::base::{Engine, EngineConfig};
use step10_solution::error::Error;
use step10_solution::session::{self, Session};
use tokio::time::sleep;

pub const CLIENTS: u32 = 4;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    for (way, path) in [
        ("one session", "/session"),
        ("a session per call", "/calls"),
    ] {
        let database = Database::sample().await?;
        let config = EngineConfig {
            max_connections: 2,
            ..EngineConfig::default()
        };
        let engine = Engine::new(&database.url(), config).or_fail("the engine")?;
        let service = Service::start(router(engine.clone()));

        let start = Instant::now();
        let writers = (1..=CLIENTS).map(|client| {
            let (service, path) = (&service, format!("{path}/{client}"));
            async move { service.post(&path, "application/json", "").await }
        });
        let reader = async {
            sleep(Duration::from_millis(20)).await;
            let start = Instant::now();
            service.get("/book/1").await?;
            Ok::<_, Failure>(start.elapsed())
        };
        let mut held = Duration::ZERO;
        let (replies, read) = tokio::select! {
            ended = join(try_join_all(writers), reader) => ended,
            never = add_up(&engine, &mut held) => match never {},
        };
        replies?;
        println!(
            "{way}: {CLIENTS} requests took {} ms and held a connection for {} ms each, \
             a read beside them took {} ms",
            start.elapsed().as_millis(),
            (held / CLIENTS).as_millis(),
            read?.as_millis()
        );
    }
    Ok(())
}

/// Adds to `held` how long connections are in use, for ever.
async fn add_up(engine: &Engine, held: &mut Duration) -> Infallible {
    loop {
        let (start, in_use) = (Instant::now(), in_use(engine));
        sleep(Duration::from_millis(1)).await;
        *held += start.elapsed() * in_use;
    }
}

/// Returns how many connections of the pool are in use.
pub fn in_use(engine: &Engine) -> u32 {
    let idle = engine.pool().num_idle();
    engine
        .pool()
        .size()
        .saturating_sub(idle.try_into().unwrap_or(u32::MAX))
}

/// Two endpoints that do the same in two ways, beside those of the books.
pub fn router(engine: Engine) -> Router {
    Router::new()
        .route("/session/{client}", post(in_one_session))
        .route("/calls/{client}", post(in_two_calls))
        .with_state(AuthorService::new(engine.clone()))
        .merge(books::routes(engine.clone()))
        .layer(from_fn_with_state(engine, session::layer))
}

fn author(client: u32, number: u32) -> NewAuthor {
    NewAuthor {
        name: format!("author {number} of client {client}"),
    }
}

async fn in_one_session(
    State(authors): State<AuthorService>,
    session: Session,
    Path(client): Path<u32>,
) -> Result<(), Error> {
    let mut transaction = session.write().await?;
    authors
        .create_in(&mut transaction, &author(client, 1))
        .await?;
    sleep(Duration::from_millis(100)).await;
    authors
        .create_in(&mut transaction, &author(client, 2))
        .await?;
    Ok(())
}

async fn in_two_calls(
    State(authors): State<AuthorService>,
    Path(client): Path<u32>,
) -> Result<(), Error> {
    authors.create(&author(client, 1)).await?;
    sleep(Duration::from_millis(100)).await;
    authors.create(&author(client, 2)).await?;
    Ok(())
}
