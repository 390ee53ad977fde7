//! Every call of a service leaves one line in the log, at DEBUG: its name, how long it took,
//! and how it ended.

use std::time::Instant;

use async_stream::try_stream;
use futures::StreamExt;

use crate::db::base::Rows;
use crate::error::Error;

/// Runs the call `name` of a service, and logs it when it ends.
///
/// # Errors
/// Those of the call.
///
/// # Cancel safety
/// That of the call. A call that is dropped before its end is logged as `cancelled`.
pub async fn logged<T>(
    name: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut record = Record::start(name);
    let result = call.await;
    record.outcome = match &result {
        Ok(_) => "ok",
        Err(error) => error.kind(),
    };
    result
}

/// Passes on the stream that the call `name` of a service returns, and logs the call when
/// the stream ends. The time begins when the stream is first polled.
///
/// # Errors
/// The stream yields the errors of `rows`.
///
/// # Cancel safety
/// A stream that is dropped before its end is logged as `cancelled`. One that was never
/// polled is not logged.
pub fn logged_rows<T: Send + 'static>(name: &'static str, rows: Rows<T>) -> Rows<T> {
    let mut rows = rows;
    Box::pin(try_stream! {
        let mut record = Record::start(name);
        while let Some(row) = rows.next().await {
            if let Err(error) = &row {
                record.outcome = error.kind();
            }
            yield row?;
        }
        record.outcome = "ok";
    })
}

/// A call that runs. Dropping the record logs it, so a call that is dropped before
/// its end is logged too.
struct Record {
    name: &'static str,
    start: Instant,
    outcome: &'static str,
}

impl Record {
    fn start(name: &'static str) -> Self {
        Self {
            name,
            start: Instant::now(),
            outcome: "cancelled",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        tracing::debug!(
            target: "marketsvc::calls",
            call = self.name,
            duration = ?self.start.elapsed(),
            outcome = self.outcome,
        );
    }
}
