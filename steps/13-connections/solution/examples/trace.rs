//! The connections in use over time, one picture for each strategy and one of all.
//!
//! `./run.sh trace 13` draws your exercise, `./run.sh trace 13 --solution` the solution.
//! PostgreSQL's pictures are there if it is installed, or if `DATABASE_URL` names a
//! database of it.

use std::error::Error;
use std::time::Duration;

use step13_solution::plan::operations;
use step13_solution::strategies::Strategy;
use timeline::{Curve, draw_curves};

use compare::{Kind, POOL, Run, STRATEGIES};

#[allow(dead_code)] // its `main`
mod compare;

/// Enough to see the shape of each curve.
const OPERATIONS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let operations = operations(OPERATIONS);
    let server = compare::server(None)?;
    for kind in compare::kinds(None, server.as_ref()) {
        let mut runs = Vec::new();
        for strategy in STRATEGIES {
            let tables = compare::tables(kind, server.as_ref(), true).await?;
            let patience = Duration::from_hours(1);
            let run = Run::new(strategy, &operations, &tables, POOL, patience).await?;
            tables.remove().await?;
            let part = format!("{kind:?} {}", short(strategy)).to_lowercase();
            let part = part.replace(" + ", "-").replace(' ', "-");
            draw(
                &format!("13 {}: {strategy}", kind.name()),
                &[&run],
                Some(&part),
            )?;
            runs.push(run);
        }
        let all: Vec<&Run> = runs.iter().collect();
        // The coach names the picture whose file has no part.
        let part = (kind == Kind::Postgres).then_some("postgres");
        draw(&format!("13 {}: all strategies", kind.name()), &all, part)?;
        println!("{}\n", compare::table(&runs));
    }
    Ok(())
}

fn draw(title: &str, runs: &[&Run], part: Option<&str>) -> Result<(), Box<dyn Error>> {
    let curves: Vec<Curve> = runs
        .iter()
        .map(|run| Curve {
            name: short(run.strategy),
            values: run.connections.clone(),
        })
        .collect();
    if let (Some(file), Some(_)) = (draw_curves(title, &curves, part)?, part) {
        println!("picture: {}", file.display());
    }
    println!();
    Ok(())
}

/// A name for which a picture has room.
fn short(strategy: Strategy) -> String {
    match strategy {
        Strategy::OneAfterAnother => "one by one".to_owned(),
        Strategy::OneWriter(readers) => format!("1 writer + {readers}"),
        other => other.to_string(),
    }
}
