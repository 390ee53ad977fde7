//! Program `send`: what lives across an await travels with the task.

use std::rc::Rc;

use tracing::info;

use crate::fetch::{fetch, ms};

/// The program: a task that uses an `Rc`, which must not leave its thread.
pub async fn run() {
    let shopping = tokio::spawn(async {
        // The block ends the life of the list before the await, where the task
        // may be moved to another thread, and the list with it.
        {
            let list = Rc::new("bread");
            info!("the list says {list}");
        }
        fetch("bread", ms(10)).await;
    });
    let _ = shopping.await;
    info!("has the bread");
}
