//! Program `send`: what lives across an await moves with the task.

use std::rc::Rc;

use tracing::info;

use crate::fetch::{fetch, ms};

/// The program: a task that uses an `Rc`, which must not move to another thread.
pub async fn run() {
    let shopping = tokio::spawn(async {
        // The block drops the list before the await. At an await the task may move
        // to another thread, and everything that is still alive moves with it.
        {
            let list = Rc::new("bread");
            info!("the list says {list}");
        }
        fetch("bread", ms(10)).await;
    });
    let _ = shopping.await;
    info!("has the bread");
}
