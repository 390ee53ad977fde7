//! Do more connections make the service faster? 500 clients run 5,000 small
//! queries over pools of different sizes. The sizes are the arguments.
//!
//! `./run.sh run 05 many_connections 1 10 100`

use std::time::Instant;

use futures::future::try_join_all;
use step05_solution::db::base::{Engine, EngineConfig};
use step05_solution::db::init_db;
use step05_solution::db_accessor::get_total_cost_of_an_order;
use step05_solution::error::Error;

const CLIENTS: usize = 500;
const QUERIES_OF_EACH: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("market.sqlite").display());
    init_db::create_if_missing(&url).await?;

    let mut sizes: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|size| size.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![1, 10, 100];
    }
    let mut first = None;
    // The first round also brings the file into memory, so it is not counted.
    let rounds = sizes
        .first()
        .copied()
        .into_iter()
        .chain(sizes.iter().copied());
    for (round, max_connections) in rounds.enumerate() {
        let engine = Engine::new(
            &url,
            EngineConfig {
                max_connections,
                ..EngineConfig::default()
            },
        )?;
        let start = Instant::now();
        let clients = (0..CLIENTS).map(|_| async {
            for _ in 0..QUERIES_OF_EACH {
                get_total_cost_of_an_order(&engine, 1).await?;
            }
            Ok::<(), Error>(())
        });
        let outcome = try_join_all(clients).await;
        if round == 0 {
            continue;
        }
        let elapsed = start.elapsed().as_secs_f64();
        let ratio = elapsed / *first.get_or_insert(elapsed);
        match outcome {
            Ok(_) => println!(
                "{max_connections:>5} allowed, {:>4} opened: {ratio:.1} times as long as the first",
                engine.connections()
            ),
            Err(error) => println!("{max_connections:>5} allowed: {error:?}"),
        }
    }
    Ok(())
}
