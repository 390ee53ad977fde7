//! Six clients run one slow query each over a pool of two connections: which
//! clients work, and which wait?
//!
//! `./run.sh trace 05` draws your exercise, `./run.sh trace 05 --solution` the
//! solution.

use check::timeline::{self, lane};
use check::{Database, Failure, OrFail};
use futures::future::join_all;
use step05_solution::db::base::{Engine, EngineConfig};

/// Counts to 50,000 inside SQLite, which takes about 10 ms.
const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
                    SELECT count(*) FROM n";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let database = Database::sample().await?;
    let config = EngineConfig {
        max_connections: 2,
        ..EngineConfig::default()
    };
    let engine = Engine::new(&database.url(), config).or_fail("the engine")?;

    let timeline = timeline::record("05 six clients, two connections");
    let clients = (1..=6).map(|client| {
        let query = engine.execute_query(sqlx::query(SLOW));
        lane(format!("client {client}"), query)
    });
    let answers = join_all(clients).await;
    drop(timeline);

    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    println!("\n{answered} answers");
    Ok(())
}
