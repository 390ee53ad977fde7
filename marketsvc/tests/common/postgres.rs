//! A market in PostgreSQL that the checks of `contract` can judge.
//!
//! They read and change an SQLite database, since the steps have no other, and a harness
//! that knew both would make every learner build the driver for PostgreSQL. So each market
//! has an SQLite database as its mirror: before a request, what a check has changed there
//! is copied to PostgreSQL; after it, what the service has changed is copied back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use check::{Database, Failure, OrFail, Outcome, ensure};
use marketsvc::app;
use marketsvc::db::{self, Settings};
use postgres_server::Server;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tokio::sync::Mutex;

/// All tables, those that others refer to first, and the columns of each in SQLite.
#[rustfmt::skip] // a line for each
const TABLES: [(&str, &[&str]); 7] = [
    ("item", &["id", "name", "price_cents", "description"]),
    ("address", &["id", "flat_number", "post_code"]),
    ("customer", &["id", "name", "address_id"]),
    ("orders", &["id", "customer_id", "order_time", "idempotency_key"]),
    ("order_items", &["rowid", "order_id", "item_id", "quantity"]),
    ("author", &["id", "name"]),
    ("book", &["id", "book_name", "author_id", "price_cents", "description", "year_of_publication", "genre", "language", "pages"]),
];

const NO_ROWS: &str = "DELETE FROM order_items; DELETE FROM orders; DELETE FROM customer;
    DELETE FROM address; DELETE FROM item; DELETE FROM book; DELETE FROM author;";

/// What PostgreSQL calls a column.
fn renamed(column: &str) -> &str {
    if column == "rowid" { "line" } else { column }
}

/// The server of this test program. `None` where PostgreSQL is not installed, which is said
/// once and is a failure in CI.
///
/// # Panics
/// If it does not start.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        // The databases are thrown away, so no disk need have them.
        let settings = ["fsync=off", "max_connections=500"];
        let server = Server::start(&settings).expect("a private PostgreSQL server");
        if server.is_none() {
            let advice = postgres_server::INSTALL;
            assert!(std::env::var_os("CI").is_none(), "{advice}");
            println!("not run on PostgreSQL: {advice}");
        }
        server
    });
    server.as_ref()
}

/// A connection to a database.
pub async fn connect(url: &str) -> Result<PgConnection, Failure> {
    PgConnection::connect(url).await.or_fail(url)
}

/// Runs statements in a database.
pub async fn execute(url: &str, sql: &str) -> Outcome {
    let mut connection = connect(url).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await;
    done.or_fail(sql)?;
    connection.close().await.or_fail(sql)
}

/// The text that `sql` selects.
pub async fn one(url: &str, sql: &str) -> Result<String, Failure> {
    let mut connection = connect(url).await?;
    let text = sqlx::query_scalar(AssertSqlSafe(sql));
    let text = text.fetch_one(&mut connection).await.or_fail(sql)?;
    connection.close().await.or_fail(sql)?;
    Ok(text)
}

/// Creates an empty database and returns its URL.
pub async fn new_database(server: &Server) -> Result<String, Failure> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let name = format!("market{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = server.url("postgres");
    execute(&url, &format!("CREATE DATABASE {name}")).await?;
    Ok(url.replacen("/postgres?", &format!("/{name}?"), 1))
}

/// A service over a new database on the server, and its mirror.
pub async fn mirrored(server: &Server) -> Result<(Router, Database), Failure> {
    let url = new_database(server).await?;
    let settings = Settings {
        max_connections: 4,
        ..Settings::default()
    };
    let service = app::app(db::open(&url, settings).await.or_fail(&url)?);
    let mirror = Database::sample().await?;
    expect_same_columns(&mirror, &url).await?;
    let copying = Arc::new(Copying {
        sqlite: format!("sqlite://{}", mirror.path().display()),
        url,
        same: Mutex::default(),
    });
    Ok((service.layer(from_fn_with_state(copying, copy)), mirror))
}

/// Fails unless both databases have the columns of [`TABLES`]: any other column would not be
/// copied, so a check would not see what the service has changed there.
async fn expect_same_columns(mirror: &Database, url: &str) -> Outcome {
    let names = |text: String| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    // PostgreSQL has a column where SQLite has the hidden rowid.
    let of_sqlite = "SELECT 'order_items.line ' || group_concat(it.name || '.' || part.name, ' ')
         FROM sqlite_schema AS it, pragma_table_info(it.name) AS part
         WHERE it.type = 'table' AND it.name NOT IN ('sqlite_sequence', '_sqlx_migrations')";
    let of_sqlite = names(mirror.one(of_sqlite).await?);
    let of_postgres = "SELECT string_agg(table_name || '.' || column_name, ' ')
         FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name <> '_sqlx_migrations'";
    let of_postgres = names(one(url, of_postgres).await?);
    let listed = TABLES.iter().flat_map(|(table, columns)| {
        let columns = columns.iter();
        columns.map(move |column| format!("{table}.{}", renamed(column)))
    });
    for (place, columns) in [
        ("data/migrations-postgres", of_postgres),
        (
            "TABLES of marketsvc/tests/common/postgres.rs",
            listed.collect(),
        ),
    ] {
        let missing: Vec<_> = of_sqlite.difference(&columns).cloned().collect();
        let unknown: Vec<_> = columns.difference(&of_sqlite).cloned().collect();
        ensure(
            missing.is_empty() && unknown.is_empty(),
            format_args!("the columns of {place}"),
            "those of data/migrations",
            format_args!(
                "missing: [{}]; only there: [{}]",
                missing.join(", "),
                unknown.join(", ")
            ),
        )?;
    }
    Ok(())
}

/// All rows, by table.
pub type Rows = Value;

struct Copying {
    sqlite: String,
    url: String,
    /// What both databases had when they were last compared.
    same: Mutex<Rows>,
}

async fn copy(State(copying): State<Arc<Copying>>, request: Request, next: Next) -> Response {
    if let Err(failure) = copying.to_postgres().await {
        return (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()).into_response();
    }
    let response = next.run(request).await;
    match copying.to_sqlite().await {
        Ok(()) => response,
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()).into_response(),
    }
}

impl Copying {
    async fn to_postgres(&self) -> Outcome {
        let mut same = self.same.lock().await;
        let rows = rows_of_sqlite(&self.sqlite).await?;
        if rows == *same {
            return Ok(());
        }
        let mut sql = format!("BEGIN; {NO_ROWS}");
        for (table, columns) in TABLES {
            let new = rows[table].to_string().replace('\'', "''");
            let id = renamed(columns[0]);
            let insert = format!(
                "INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, '{new}');
                 SELECT setval(pg_get_serial_sequence('{table}', '{id}'), greatest(max({id}), 1))
                 FROM {table};"
            );
            sql.push_str(&insert);
        }
        execute(&self.url, &(sql + "COMMIT;")).await?;
        *same = rows;
        Ok(())
    }

    async fn to_sqlite(&self) -> Outcome {
        let mut same = self.same.lock().await;
        let rows = rows_of_postgres(&self.url).await?;
        if rows == *same {
            return Ok(());
        }
        let mut sql = format!("BEGIN IMMEDIATE; {NO_ROWS}");
        for (table, columns) in TABLES {
            let new = rows[table].to_string().replace('\'', "''");
            let values = columns
                .iter()
                .map(|it| format!("value ->> '{}'", renamed(it)));
            let insert = format!(
                "INSERT INTO {table} ({}) SELECT {} FROM json_each('{new}') ORDER BY key;",
                columns.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            sql.push_str(&insert);
        }
        sql += "COMMIT;";
        let mut connection = sqlx::SqliteConnection::connect(&self.sqlite)
            .await
            .or_fail(&self.sqlite)?;
        sqlx::raw_sql(AssertSqlSafe(&*sql))
            .execute(&mut connection)
            .await
            .or_fail("the copy in SQLite")?;
        connection.close().await.or_fail("the copy in SQLite")?;
        *same = rows;
        Ok(())
    }
}

/// All rows of a file.
pub async fn rows_of_sqlite(url: &str) -> Result<Rows, Failure> {
    let tables = TABLES.map(|(table, columns)| {
        let columns = columns.iter().map(|it| format!("'{}', {it}", renamed(it)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let id = if table == "order_items" { "rowid" } else { "id" };
        format!(
            "'{table}', (SELECT json_group_array(json_object({columns}) ORDER BY {id}) FROM {table})"
        )
    });
    let sql = format!("SELECT json_object({})", tables.join(", "));
    let mut connection = sqlx::SqliteConnection::connect(url).await.or_fail(url)?;
    let rows: String = sqlx::query_scalar(AssertSqlSafe(&*sql))
        .fetch_one(&mut connection)
        .await
        .or_fail(&sql)?;
    connection.close().await.or_fail(url)?;
    serde_json::from_str(&rows).or_fail("the rows in SQLite")
}

/// All rows of a database on a server.
pub async fn rows_of_postgres(url: &str) -> Result<Rows, Failure> {
    let tables = TABLES.map(|(table, columns)| {
        let id = renamed(columns[0]);
        format!("'{table}', (SELECT coalesce(json_agg({table} ORDER BY {id}), '[]') FROM {table})")
    });
    let sql = format!("SELECT json_build_object({})::text", tables.join(", "));
    let mut rows =
        serde_json::from_str(&one(url, &sql).await?).or_fail("the rows in PostgreSQL")?;
    booleans_as_in_sqlite(&mut rows);
    Ok(rows)
}

/// SQLite stores a boolean as 0 or 1.
fn booleans_as_in_sqlite(value: &mut Value) {
    match value {
        Value::Bool(it) => *value = i64::from(*it).into(),
        Value::Array(values) => values.iter_mut().for_each(booleans_as_in_sqlite),
        Value::Object(fields) => fields.values_mut().for_each(booleans_as_in_sqlite),
        _ => {}
    }
}
