//! A small bookstore in memory that answers as the contract says, or with one
//! [`Fault`]: the services that a learner's own tests are tried on.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    fn put<const K: usize>(
        &self,
        tables: &mut [Table; 2],
        id: i64,
        mut row: Row,
    ) -> Result<Json<Row>, Problem> {
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
        tables[K].last = tables[K].last.max(id);
        Ok(Json(row))
    }

    /// Stores an author and a book of another client.
    fn store_another(&self, tables: &mut [Table; 2]) -> Result<(), Problem> {
        let author = tables[AUTHOR].last + 1;
        let row = json!({"name": format!("another client's author {author}")});
        let _stored = self.put::<AUTHOR>(tables, author, valid::<AUTHOR>(&row)?)?;
        let book = tables[BOOK].last + 1;
        let name = format!("another client's book {book}");
        let row = json!({"book_name": name, "author_id": author, "price": 1});
        self.put::<BOOK>(tables, book, valid::<BOOK>(&row)?)
            .map(drop)
    }
}

enum Column {
    Text { longest: usize },
    Whole(RangeInclusive<i64>),
    Price,
}

/// The columns of both tables. Those up to the price must have a value.
const COLUMNS: [&[(&str, Column)]; 2] = [
    &[("name", Column::Text { longest: 200 })],
    &[
        ("book_name", Column::Text { longest: 200 }),
        ("author_id", Column::Whole(i64::MIN..=i64::MAX)),
        ("price", Column::Price),
        ("description", Column::Text { longest: 10_000 }),
        ("year_of_publication", Column::Whole(-3000..=3000)),
        ("genre", Column::Text { longest: 100 }),
        ("language", Column::Text { longest: 100 }),
        ("pages", Column::Whole(1..=100_000)),
    ],
];

/// The row that a client sent, with all of its columns and no others. It checks
/// everything that needs no other row.
fn valid<const K: usize>(sent: &Value) -> Result<Row, Problem> {
    let mut row = Row::new();
    for (number, (field, column)) in COLUMNS[K].iter().enumerate() {
        let value = &sent[field];
        let (value, holds) = match column {
            _ if value.is_null() && number > 2 => (Value::Null, true),
            Column::Text { longest } => {
                let text = value.as_str().ok_or(MALFORMED)?;
                let holds = !text.trim().is_empty() && text.chars().count() <= *longest;
                (json!(text), holds)
            }
            Column::Whole(range) => {
                let whole = value.as_i64().ok_or(MALFORMED)?;
                (json!(whole), range.contains(&whole))
            }
            Column::Price => {
                let price = value.as_f64().ok_or(MALFORMED)?;
                #[expect(clippy::float_cmp)] // two decimals give exactly this number
                let cents = (price * 100.0).round() / 100.0 == price;
                (json!(price), cents && (0.0..=1_000_000.0).contains(&price))
            }
        };
        if !holds {
            return Err(Problem(422, Some(field), "the value is not acceptable"));
        }
        row.insert((*field).to_owned(), value);
    }
    Ok(row)
}

/// The members of a JSON object, each of them once.
struct Members(Value);

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
                Ok(Members(Value::Object(row)))
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
    let has = |fault| K == BOOK && page.after.is_some() && store.has(fault);
    let first = match page.after {
        Some(id) if has(Fault::PageRepeats) => id,
        Some(id) if !has(Fault::PageFromTheFirst) => id.saturating_add(1),
        _ => i64::MIN,
    };
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
    let row = valid::<K>(&body.map_err(|_| MALFORMED)?.0.0)?;
    let mut tables = store.tables();
    let id = tables[K].last + 1;
    let stored = store.put::<K>(&mut tables, id, row)?;
    if K == BOOK && store.shared {
        store.store_another(&mut tables)?;
    }
    let wrong = K == BOOK && store.has(Fault::WrongLocation);
    let path = format!("{}/{}", PATHS[K], id - i64::from(wrong));
    Ok((StatusCode::CREATED, [(header::LOCATION, path)], stored).into_response())
}

async fn replace(State(store): Shared, id: Id, body: Body) -> Answer {
    let Path(id) = id.map_err(|_| MALFORMED)?;
    let row = valid::<BOOK>(&body.map_err(|_| MALFORMED)?.0.0)?;
    let mut tables = store.tables();
    if !tables[BOOK].rows.contains_key(&id) {
        return Err(MISSING);
    }
    Ok(store.put::<BOOK>(&mut tables, id, row)?.into_response())
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
        let nullable = !["id", "book_name", "author_id", "price"].contains(&&**name);
        match change.get(name) {
            None if nullable && store.has(Fault::PatchResets) => *value = Value::Null,
            Some(Value::Null) if nullable && store.has(Fault::NullKeeps) => {}
            Some(new) => *value = new.clone(),
            None => {}
        }
    }
    let row = valid::<BOOK>(&Value::Object(row))?;
    Ok(store.put::<BOOK>(&mut tables, id, row)?.into_response())
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
