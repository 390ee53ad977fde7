//! A small bookstore in memory that answers as the contract says, or with one
//! [`Fault`]: the services that a learner's own tests are tried on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// The one thing that a bookstore does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    MissingIs200,
    UpdatesMissing,
    NullKeeps,
    PatchResets,
    NameTwice,
    AnyAuthor,
    DeleteKeeps,
    WrongLocation,
    PageRepeats,
    PageFromTheFirst,
    NewestFirst,
    AuthorLeavesBooks,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::MissingIs200,
        Self::UpdatesMissing,
        Self::NullKeeps,
        Self::PatchResets,
        Self::NameTwice,
        Self::AnyAuthor,
        Self::DeleteKeeps,
        Self::WrongLocation,
        Self::PageRepeats,
        Self::PageFromTheFirst,
        Self::NewestFirst,
        Self::AuthorLeavesBooks,
    ];

    /// What the service does: completes the sentence "a service that …".
    pub fn does(self) -> &'static str {
        match self {
            Self::MissingIs200 => "answers GET /book/{id} with 200 and an error for a missing book",
            Self::UpdatesMissing => "answers PATCH /book/{id} with 200 for a missing book",
            Self::NullKeeps => "keeps the value of a field that PATCH /book/{id} sets to null",
            Self::PatchResets => "clears the nullable fields that PATCH /book/{id} leaves out",
            Self::NameTwice => "stores a second book with a name that is taken",
            Self::AnyAuthor => "stores a book whose author does not exist",
            Self::DeleteKeeps => "answers DELETE /book/{id} with 204 and keeps the book",
            Self::WrongLocation => "sends a Location that does not lead to the new book",
            Self::PageRepeats => "begins the page GET /book?after={id} with the book {id} itself",
            Self::PageFromTheFirst => {
                "begins the page GET /book?after={id} with the first book of all"
            }
            Self::NewestFirst => "begins the page GET /book?after={id} with the newest book of all",
            Self::AuthorLeavesBooks => "removes an author who still has books",
        }
    }
}

/// The router of a bookstore, which holds no authors and no books yet.
pub fn bookstore(fault: Option<Fault>) -> Router {
    router(fault, false)
}

/// A right bookstore in which another client stores a book, by an author of its own,
/// after each new book.
pub fn shared_bookstore() -> Router {
    router(None, true)
}

fn router(fault: Option<Fault>, shared: bool) -> Router {
    let info = json!({"name": "marketsvc", "version": env!("CARGO_PKG_VERSION")});
    let book = get(get_one::<BOOK>).put(replace).patch(update);
    Router::new()
        .route("/app/info", get(async move || Json(info)))
        .route("/author", get(list::<AUTHOR>).post(create::<AUTHOR>))
        .route(
            "/author/{id}",
            get(get_one::<AUTHOR>).delete(delete::<AUTHOR>),
        )
        .route("/book", get(list::<BOOK>).post(create::<BOOK>))
        .route("/book/{id}", book.delete(delete::<BOOK>))
        .with_state(Arc::new(Store {
            fault,
            shared,
            tables: Mutex::default(),
        }))
}

const AUTHOR: usize = 0;
const BOOK: usize = 1;
const PATHS: [&str; 2] = ["/author", "/book"];
const NAMES: [&str; 2] = ["name", "book_name"];

/// An author or a book, as JSON.
type Row = Map<String, Value>;

#[derive(Default)]
struct Table {
    rows: BTreeMap<i64, Row>,
    /// The id that was given last. It is never given again.
    last: i64,
}

struct Store {
    fault: Option<Fault>,
    shared: bool,
    tables: Mutex<[Table; 2]>,
}

impl Store {
    fn tables(&self) -> MutexGuard<'_, [Table; 2]> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Stores all values of the row `id`, unless they collide with other rows.
    fn put<const K: usize>(&self, tables: &mut [Table; 2], id: i64, mut row: Row) -> Answer {
        let name = NAMES[K];
        let mut others = tables[K].rows.iter().filter(|(other, _)| **other != id);
        let may_repeat = K == BOOK && self.has(Fault::NameTwice);
        if others.any(|(_, other)| other[name] == row[name]) && !may_repeat {
            return Err(Problem(409, Some(name), "the name is taken"));
        }
        let author = row.get("author_id").and_then(Value::as_i64);
        let unknown = author.is_some_and(|id| !tables[AUTHOR].rows.contains_key(&id));
        if unknown && !self.has(Fault::AnyAuthor) {
            return Err(Problem(422, Some("author_id"), "there is no such author"));
        }
        row.insert("id".into(), id.into());
        tables[K].rows.insert(id, row.clone());
        Ok(Json(row).into_response())
    }
}

#[derive(Deserialize, Serialize)]
struct NewAuthor {
    name: String,
}

#[derive(Deserialize, Serialize)]
struct NewBook {
    book_name: String,
    author_id: i64,
    price: f64,
    description: Option<String>,
    year_of_publication: Option<i64>,
    genre: Option<String>,
    language: Option<String>,
    pages: Option<i64>,
}

/// Brings the members that a client sent into the form of a `T`.
fn typed<T: DeserializeOwned + Serialize>(row: Row) -> Result<Row, Problem> {
    let row: T = serde_json::from_value(Value::Object(row)).map_err(|_| MALFORMED)?;
    match json!(row) {
        Value::Object(row) => Ok(row),
        _ => Err(MALFORMED),
    }
}

/// Checks everything about a row that needs no other row.
fn valid<const K: usize>(row: Row) -> Result<Row, Problem> {
    let row = match K {
        AUTHOR => typed::<NewAuthor>(row)?,
        _ => typed::<NewBook>(row)?,
    };
    let text = |field: &str, longest: usize| {
        let text = row.get(field).and_then(Value::as_str);
        text.is_none_or(|it| !it.trim().is_empty() && it.chars().count() <= longest)
    };
    let number = |field: &str, least: f64, most: f64| {
        let number = row.get(field).and_then(Value::as_f64);
        number.is_none_or(|it| (least..=most).contains(&it))
    };
    let price = row.get("price").and_then(Value::as_f64).unwrap_or(0.0);
    #[expect(clippy::float_cmp)] // two decimals give exactly this number
    let whole = (price * 100.0).round() / 100.0 == price;
    for (field, holds) in [
        (NAMES[K], text(NAMES[K], 200)),
        ("price", whole && number("price", 0.0, 1_000_000.0)),
        ("description", text("description", 10_000)),
        ("genre", text("genre", 100)),
        ("language", text("language", 100)),
        (
            "year_of_publication",
            number("year_of_publication", -3000.0, 3000.0),
        ),
        ("pages", number("pages", 1.0, 100_000.0)),
    ] {
        if !holds {
            return Err(Problem(422, Some(field), "the value is not acceptable"));
        }
    }
    Ok(row)
}

/// The members of a JSON object, each of them once.
struct Members(Row);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut row = Row::new();
                while let Some((name, value)) = map.next_entry()? {
                    if row.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member that is given twice"));
                    }
                }
                Ok(Members(row))
            }
        }
        from.deserialize_map(Object)
    }
}

#[derive(Deserialize)]
struct Page {
    after: Option<i64>,
    limit: Option<usize>,
}

type Shared = State<Arc<Store>>;
type Answer = Result<Response, Problem>;
type Id = Result<Path<i64>, PathRejection>;
type Body = Result<Json<Members>, JsonRejection>;

async fn list<const K: usize>(
    State(store): Shared,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(page) = page.map_err(|_| MALFORMED)?;
    let limit = page.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(MALFORMED);
    }
    let mut first = page.after.map_or(i64::MIN, |id| id.saturating_add(1));
    let has = |fault| K == BOOK && page.after.is_some() && store.has(fault);
    if has(Fault::PageRepeats) {
        first = first.saturating_sub(1);
    }
    if has(Fault::PageFromTheFirst) {
        first = i64::MIN;
    }
    let tables = store.tables();
    let rows = tables[K].rows.range(first..).map(|it| it.1);
    let rows: Vec<&Row> = if has(Fault::NewestFirst) {
        rows.rev().take(limit).collect()
    } else {
        rows.take(limit).collect()
    };
    Ok(Json(rows).into_response())
}

async fn get_one<const K: usize>(State(store): Shared, id: Id) -> Answer {
    let Path(id) = id.map_err(|_| MALFORMED)?;
    match store.tables()[K].rows.get(&id) {
        Some(row) => Ok(Json(row).into_response()),
        None if K == BOOK && store.has(Fault::MissingIs200) => {
            Ok(Json(json!({"error": "not found"})).into_response())
        }
        None => Err(MISSING),
    }
}

async fn create<const K: usize>(State(store): Shared, body: Body) -> Answer {
    let Json(Members(row)) = body.map_err(|_| MALFORMED)?;
    let row = valid::<K>(row)?;
    let mut tables = store.tables();
    let id = tables[K].last + 1;
    let stored = store.put::<K>(&mut tables, id, row)?;
    tables[K].last = id;
    if K == BOOK && store.shared {
        store_another(&mut tables);
    }
    let wrong = K == BOOK && store.has(Fault::WrongLocation);
    let path = format!("{}/{}", PATHS[K], id - i64::from(wrong));
    Ok((StatusCode::CREATED, [(header::LOCATION, path)], stored).into_response())
}

/// Stores an author and a book of another client.
fn store_another(tables: &mut [Table; 2]) {
    let author = tables[AUTHOR].last + 1;
    for table in [AUTHOR, BOOK] {
        let id = tables[table].last + 1;
        let row = match table {
            AUTHOR => json!({"id": id, "name": format!("another client's author {id}")}),
            _ => json!({"id": id, "book_name": format!("another client's book {id}"),
                "author_id": author, "price": 1.0, "description": null,
                "year_of_publication": null, "genre": null, "language": null, "pages": null}),
        };
        if let Value::Object(row) = row {
            tables[table].rows.insert(id, row);
            tables[table].last = id;
        }
    }
}

async fn replace(State(store): Shared, id: Id, body: Body) -> Answer {
    let Path(id) = id.map_err(|_| MALFORMED)?;
    let row = valid::<BOOK>(body.map_err(|_| MALFORMED)?.0.0)?;
    let mut tables = store.tables();
    if !tables[BOOK].rows.contains_key(&id) {
        return Err(MISSING);
    }
    store.put::<BOOK>(&mut tables, id, row)
}

async fn update(State(store): Shared, id: Id, body: Body) -> Answer {
    let Path(id) = id.map_err(|_| MALFORMED)?;
    let Json(Members(change)) = body.map_err(|_| MALFORMED)?;
    let mut tables = store.tables();
    let Some(mut row) = tables[BOOK].rows.get(&id).cloned() else {
        return if store.has(Fault::UpdatesMissing) {
            Ok(Json(json!({"message": "updated successfully"})).into_response())
        } else {
            Err(MISSING)
        };
    };
    for (name, value) in &mut row {
        let nullable = !["book_name", "author_id", "price"].contains(&&**name);
        match change.get(name) {
            None if nullable && store.has(Fault::PatchResets) => *value = Value::Null,
            Some(Value::Null) if nullable && store.has(Fault::NullKeeps) => {}
            Some(new) => *value = new.clone(),
            None => {}
        }
    }
    store.put::<BOOK>(&mut tables, id, valid::<BOOK>(row)?)
}

async fn delete<const K: usize>(State(store): Shared, id: Id) -> Answer {
    let Path(id) = id.map_err(|_| MALFORMED)?;
    let mut tables = store.tables();
    let by = |book: &Row| book["author_id"] == id;
    if K == AUTHOR && tables[BOOK].rows.values().any(by) && !store.has(Fault::AuthorLeavesBooks) {
        return Err(Problem(409, Some("id"), "there are books by this author"));
    }
    match tables[K].rows.remove(&id) {
        None => return Err(MISSING),
        Some(row) if K == BOOK && store.has(Fault::DeleteKeeps) => {
            tables[K].rows.insert(id, row);
        }
        Some(_) => {}
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A request that is refused: the status, the field, and the reason.
struct Problem(u16, Option<&'static str>, &'static str);

const MALFORMED: Problem = Problem(
    400,
    None,
    "the id, the query or the body is malformed; a body is JSON in UTF-8 without a byte order mark, \
     sent as application/json, each key once, whole numbers without a point or exponent",
);
const MISSING: Problem = Problem(404, None, "there is no such row");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(code, field, detail) = self;
        let status = StatusCode::from_u16(code).unwrap_or_default();
        let title = status.canonical_reason();
        let mut problem =
            json!({"type": "about:blank", "title": title, "status": code, "detail": detail});
        if let Some(field) = field {
            problem["errors"] = json!([{"field": field, "detail": detail}]);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, problem.to_string()).into_response()
    }
}
