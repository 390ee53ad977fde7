//! One client of the load.

use std::time::{Duration, Instant};

use fastrand::Rng;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Call, Kind, Plan};

/// The calls of a cycle, in their order: those of the published benchmark.
// TODO(12.4): list, one, slow, three times add, list, one, list, one, slow
pub const CYCLE: [Kind; 11] = [
    Kind::List,
    Kind::One,
    Kind::Slow,
    Kind::Add,
    Kind::Add,
    Kind::Add,
    Kind::List,
    Kind::One,
    Kind::List,
    Kind::One,
    Kind::Slow,
];
// END TODO(12.4)

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no whole answer: the connection broke off, or the timeout passed.
    #[error("no whole answer")]
    NoAnswer(#[from] reqwest::Error),
    #[error("expected status {expected}, got {got}")]
    Status {
        expected: StatusCode,
        got: StatusCode,
    },
    #[error("the body is not the JSON that it should be")]
    NotJson(#[from] serde_json::Error),
    #[error("the answer is about something else than the request")]
    Unexpected,
    #[error("the client has no list with a book in it")]
    NoBook,
}

/// Returns the HTTP client that all clients of the load share. It keeps connections open
/// for the next request. Each request has `timeout` to the end of its answer's body.
///
/// # Errors
/// The error of reqwest if it cannot be made.
pub fn http(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // TODO(12.3): a timeout for each request, no redirects, and no proxy
    reqwest::Client::builder()
        .timeout(timeout)
        // An answer that points elsewhere is not the one that was asked for.
        .redirect(Policy::none())
        // A proxy in the environment would be measured with the service.
        .no_proxy()
        .build()
    // END TODO(12.3)
}

/// One client: its connection to the service, and what it knows between two calls.
pub struct Client {
    http: reqwest::Client,
    base: String,
    number: usize,
    plan: Plan,
    random: Rng,
    /// The ids of its last list. It is empty if the last list failed.
    ids: Vec<i64>,
    /// How many books it has tried to add.
    added: u64,
}

// TODO(12.3): the part of a book that the client looks at
#[derive(Deserialize)]
struct Book {
    id: i64,
    book_name: String,
}
// END TODO(12.3)

/// The answer of a slow query.
#[derive(Deserialize)]
struct Extensive {
    seconds: f64,
}

impl Client {
    /// Creates the client with this `number`, from 0, of a load of the service at `base`.
    pub fn new(http: reqwest::Client, base: &str, number: usize, plan: &Plan) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            number,
            plan: *plan,
            // Each client picks books in an order of its own.
            random: Rng::with_seed(plan.seed.wrapping_add(number as u64)),
            ids: Vec::new(),
            added: 0,
        }
    }

    /// Makes a call of this kind and looks at its answer.
    pub async fn call(&mut self, kind: Kind) -> Call {
        let began = Instant::now();
        let result = match kind {
            Kind::List => self.list().await,
            Kind::One => self.one().await,
            Kind::Slow => self.slow().await,
            Kind::Add => self.add().await,
        };
        Call {
            kind,
            client: self.number,
            began,
            ended: Instant::now(),
            result,
        }
    }

    /// Calls `GET /book`, and keeps the ids of the list.
    async fn list(&mut self) -> Result<(), CallError> {
        // TODO(12.3): keep the ids of this list, and not those of an earlier one
        self.ids.clear();
        let request = self.http.get(format!("{}/book", self.base));
        let books: Vec<Book> = answer(request, StatusCode::OK).await?;
        self.ids.extend(books.iter().map(|book| book.id));
        Ok(())
        // END TODO(12.3)
    }

    /// Calls `GET /book/{id}` for a book of the last list. The seed picks it.
    /// [`CallError::Unexpected`] means that another book came.
    async fn one(&mut self) -> Result<(), CallError> {
        // TODO(12.3): ask for a book of the last list, and look whether the answer is that book
        let id = *self.random.choice(&self.ids).ok_or(CallError::NoBook)?;
        let request = self.http.get(format!("{}/book/{id}", self.base));
        let book: Book = answer(request, StatusCode::OK).await?;
        if book.id == id {
            Ok(())
        } else {
            Err(CallError::Unexpected)
        }
        // END TODO(12.3)
    }

    /// Calls `GET /book/extensive_query` with the plan's seconds.
    async fn slow(&mut self) -> Result<(), CallError> {
        let seconds = self.plan.seconds;
        let url = format!("{}/book/extensive_query?seconds={seconds}", self.base);
        let Extensive { seconds: took } = answer(self.http.get(url), StatusCode::OK).await?;
        if took.to_bits() == seconds.to_bits() {
            Ok(())
        } else {
            Err(CallError::Unexpected)
        }
    }

    /// Calls `POST /book` with a name that no other call has, in this load or in one with
    /// another seed. [`CallError::Unexpected`] means that the answer has another name.
    async fn add(&mut self) -> Result<(), CallError> {
        // TODO(12.3): add a book of author 1 with a unique name, and look whether it was stored
        self.added += 1;
        let name = format!("Load {}-{}-{}", self.plan.seed, self.number, self.added);
        let request = self.http.post(format!("{}/book", self.base)).json(&json!({
            "book_name": name, "author_id": 1, "price": 10.5
        }));
        let book: Book = answer(request, StatusCode::CREATED).await?;
        if book.book_name == name {
            Ok(())
        } else {
            Err(CallError::Unexpected)
        }
        // END TODO(12.3)
    }
}

/// Sends `request`, reads its answer to the end, and returns the JSON of the body.
///
/// # Errors
/// [`CallError::NoAnswer`] if there is no whole answer, [`CallError::Status`] if its
/// status is not `expected`, and [`CallError::NotJson`] if its body is not a `T`. If it
/// breaks off and has another status, too, the error may be either of the first two.
async fn answer<T: DeserializeOwned>(
    request: RequestBuilder,
    expected: StatusCode,
) -> Result<T, CallError> {
    // TODO(12.3): read the answer to its end, and look at its status and its body
    let response = request.send().await?;
    let got = response.status();
    // The body is read in any case: without its end, the connection could not be used
    // again.
    let body = response.bytes().await?;
    if got != expected {
        return Err(CallError::Status { expected, got });
    }
    Ok(serde_json::from_slice(&body)?)
    // END TODO(12.3)
}
