//! Program `generator`: values that are produced on demand.

use std::pin::pin;

use async_stream::stream;
use futures::{Stream, StreamExt};
use timeline::lane;
use tokio::time::sleep;
use tracing::info;

use crate::fetch::ms;

/// A stream of `loaves` loaves, which are numbered from 1. It calls `bake` with the
/// number and awaits it to bake one loaf, and does so only when the stream is polled
/// for that loaf.
///
/// # Cancel safety
/// Dropping the stream drops the loaf in the oven, and no other loaf is baked.
pub fn bakery<F>(loaves: u32, bake: impl Fn(u32) -> F) -> impl Stream<Item = u32>
where
    F: Future<Output = ()>,
{
    // TODO(01.5): use `stream!` to bake a loaf, yield its number, and repeat
    stream! {
        for loaf in 1..=loaves {
            bake(loaf).await;
            yield loaf;
        }
    }
    // END TODO(01.5)
}

/// The program: an eater takes one loaf after another and stops after the third of
/// five. A radio plays at the same time on the same thread.
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
