//! Program `generator`: values that are made when they are asked for.

use std::pin::pin;

use futures::{Stream, StreamExt};
use timeline::lane;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;

/// Bakes `loaves` loaves and gives them out as numbers from 1. `bake` bakes one;
/// it is called when the stream is asked for that loaf, and not before.
///
/// # Cancel safety
/// Dropping the stream drops the loaf in the oven; no further one is baked.
pub fn bakery<F>(loaves: u32, bake: impl Fn(u32) -> F) -> impl Stream<Item = u32>
where
    F: Future<Output = ()>,
{
    // TODO(01.5): an async generator with `stream!`: bake a loaf, yield its number, and so on
    let _ = bake; // goes away together with the next line, which gives out raw dough
    futures::stream::iter(1..=loaves)
    // END TODO(01.5)
}

/// The program: somebody eats loaf after loaf and leaves after the third of
/// five. Meanwhile a radio plays, at the same time and on the same thread.
pub async fn run() {
    let oven = |loaf| {
        lane("oven", async move {
            info!("loaf {loaf}");
            sleep(ms(20)).await;
        })
    };
    let eating = lane("eater", async {
        let mut loaves = pin!(bakery(5, oven));
        while let Some(loaf) = loaves.next().await {
            info!("gets loaf {loaf}");
            sleep(ms(10)).await;
            if loaf == 3 {
                info!("has had enough");
                break;
            }
        }
    });
    let radio = lane("radio", async {
        for song in 1..=4 {
            info!("song {song}");
            sleep(ms(25)).await;
        }
    });
    tokio::join!(eating, radio);
}
