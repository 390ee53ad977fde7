//! Two bodies with the same pieces. The first one pulls them: it makes a piece when
//! the client takes one. The second one is fed by a task through a bounded channel.
//! How many pieces does each make for a client that takes one and stops?
//!
//! `./run.sh run 07 bounded_channel`

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

/// How many pieces the channel holds.
const CAPACITY: usize = 4;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let made = Arc::default();
    let body = Body::from_stream(pieces(&made));
    client("pulled", body, &made).await;

    let made = Arc::default();
    let mut pieces = pieces(&made);
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let reader = tokio::spawn(async move {
        while let Some(piece) = pieces.next().await {
            // `send` waits while the channel is full. It fails when the receiver
            // has been dropped: then the client is gone.
            if sender.send(piece).await.is_err() {
                return "the client is gone";
            }
        }
        "all pieces are sent"
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    client("channel", body, &made).await;
    match reader.await {
        Ok(reason) => println!("channel: the task ends, since {reason}"),
        Err(error) => println!("channel: the task failed: {error}"),
    }
}

/// A thousand pieces, each made when it is polled for and counted in `made`.
fn pieces(made: &Arc<AtomicU32>) -> impl Stream<Item = Result<Bytes, Infallible>> + 'static {
    let made = Arc::clone(made);
    stream::iter(0..1000).map(move |_| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from_static(b"a piece\n"))
    })
}

/// Takes one piece of the body, waits, and drops the body.
async fn client(name: &str, body: Body, made: &AtomicU32) {
    let mut body = body.into_data_stream();
    let _piece = body.next().await;
    // The clock is paused: it moves on when no task has anything left to do.
    sleep(Duration::from_secs(1)).await;
    let made = made.load(Ordering::Relaxed);
    println!("{name}: the client takes one piece and stops; pieces made: {made}");
}
