//! What step 14 must do: `./run.sh check 14`.
//!
//! TO WRITE: the checks of each task, in the order of the tasks. A check's name says
//! what must hold. A check of the service begins with
//!
//! ```text
//! let database = Database::sample().await?;
//! let engine = Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")?;
//! let service = Service::start(server::app(engine));
//! let reply = service.get("/api/customers").await?;
//! ```

use std::process::ExitCode;

use check::{Outcome, Suite, ensure};
use step14::placeholder::greeting;

pub fn main() -> ExitCode {
    Suite::new("14-production", env!("CARGO_MANIFEST_DIR"))
        .check("14.1", "the placeholder greets by name", greets_by_name)
        .run()
}

async fn greets_by_name() -> Outcome {
    let returned = greeting("Alex");
    let expected = "hello, Alex";
    ensure(
        returned == expected,
        "greeting(\"Alex\")",
        expected,
        returned,
    )
}
