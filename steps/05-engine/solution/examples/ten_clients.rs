//! Ten clients run one slow query each: what does the size of the pool change?
//!
//! `./run.sh run 05 ten_clients`

use std::time::{Duration, Instant};

use axum::http::header;
use axum::response::IntoResponse;
use futures::future::join_all;
use step05_solution::db::base::{Engine, EngineConfig};
use step05_solution::db::init_db;
use step05_solution::error::Error;

const CLIENTS: usize = 10;
/// Counts to a million inside SQLite, which takes about 200 ms.
const SLOW: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                    SELECT count(*) FROM n";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("market.sqlite").display());
    init_db::create_if_missing(&url).await?;

    let patient = Duration::from_mins(1);
    for (max_connections, acquire_timeout) in
        [(10, patient), (2, patient), (2, Duration::from_millis(100))]
    {
        let engine = Engine::new(
            &url,
            EngineConfig {
                max_connections,
                acquire_timeout,
                ..EngineConfig::default()
            },
        )?;
        println!("{max_connections} connections, clients wait at most {acquire_timeout:?}");
        println!("  open before the first query: {}", engine.connections());

        let start = Instant::now();
        let answers = join_all((0..CLIENTS).map(|_| engine.execute_query(sqlx::query(SLOW)))).await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();

        println!("  open at the end: {}", engine.connections());
        println!(
            "  answered: {answered}, turned away: {}",
            CLIENTS - answered
        );
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            // The response of a handler that returns this error.
            let response = error.into_response();
            let retry_after = response.headers().get(header::RETRY_AFTER);
            println!(
                "  one turned away: {}, Retry-After: {}",
                response.status(),
                retry_after
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("none")
            );
        }
        println!("  after {} ms", start.elapsed().as_millis());
    }
    Ok(())
}
