//! The mix on SQLite.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::store::{self, A, B, Connections, Failure, Pool, Pools, Store};
use super::strategy::Ended;
use super::together::{self, Batch, Writer};

/// The tables of both sides.
const TABLES: &str = "
    CREATE TABLE a (
        id INTEGER PRIMARY KEY,
        data TEXT NOT NULL,
        create_date TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE TABLE b (
        id INTEGER PRIMARY KEY,
        a_id INTEGER NOT NULL REFERENCES a,
        data TEXT NOT NULL
    );";

const INDEX: &str = "CREATE INDEX b_a_id ON b (a_id)";

const INSERT_A: &str = "INSERT INTO a (data) VALUES (?), (?), (?) RETURNING id";

const INSERT_B: &str = "INSERT INTO b (a_id, data) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)";

/// Any number of writes in a transaction of their own, as one text: sqlx hands
/// each text to SQLite's thread and waits for it, which takes longer than the
/// statements of one write. `?` are the rows of `a`, how many they are, the rows
/// of `b` with the places of their parents, and again how many of `a`. Ids follow
/// each other, since nobody else writes meanwhile; the answer is those that are
/// there.
const TOGETHER: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO a (id, data)
    SELECT last.id + key + 1, value
    FROM (SELECT coalesce(max(id), 0) AS id FROM a) AS last, json_each(?);
    INSERT INTO b (a_id, data)
    SELECT last.id - ? + (value ->> 0), value ->> 1
    FROM (SELECT max(id) AS id FROM a) AS last, json_each(?);
    SELECT json_group_array(id)
    FROM (SELECT id FROM a WHERE id > (SELECT max(id) FROM a) - ? ORDER BY id);
    COMMIT";

/// Each row crosses a channel between SQLite's thread and the task that asked,
/// so a page of them is made one row.
const SELECT_A: &str = "
    SELECT json_group_array(json_array(id, data, create_date))
    FROM (SELECT id, data, create_date FROM a LIMIT 10)";

const SELECT_B: &str = "
    SELECT json_group_array(json_array(id, a_id, data))
    FROM b WHERE a_id IN (SELECT value FROM json_each(?))";

/// How a connection is made: durable after each commit, as on the other side.
pub fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Whoever waits for its turn to write waits as long as it takes.
        .busy_timeout(Duration::from_hours(1))
}

/// A new database with empty tables.
///
/// # Errors
///
/// When the file is there already, or cannot be made.
pub async fn create(file: &Path, index: bool) -> sqlx::Result<()> {
    let mut connection = options(file).create_if_missing(true).connect().await?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await?;
    if index {
        sqlx::raw_sql(INDEX).execute(&mut connection).await?;
    }
    connection.close().await
}

/// Empties the tables.
///
/// # Errors
///
/// When SQLite refuses.
pub async fn empty(file: &Path) -> sqlx::Result<()> {
    let mut connection = options(file).connect().await?;
    sqlx::raw_sql("DELETE FROM b; DELETE FROM a; PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// Rows of `a` and of `b`.
///
/// # Errors
///
/// When SQLite refuses.
pub async fn rows(file: &Path) -> sqlx::Result<(i64, i64)> {
    let mut connection = options(file).connect().await?;
    let rows = sqlx::query_as("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(rows)
}

#[derive(Clone)]
pub struct OnSqlite {
    pools: Pools<Sqlite>,
    /// Who commits writes together.
    writer: Option<Writer>,
}

impl OnSqlite {
    /// Opens connections to `file` when they are needed; an operation waits for
    /// one for at most `patience`. Needs a runtime.
    pub fn new(file: &Path, connections: Connections, patience: Duration) -> Self {
        let pools = Pools::new(connections, patience, &options(file));
        let writer = matches!(connections, Connections::CommitTogether(_))
            .then(|| Writer::start(OneConnection(pools.writers().clone())));
        Self { pools, writer }
    }

    #[cfg(test)]
    pub fn pools(&self) -> &Pools<Sqlite> {
        &self.pools
    }
}

impl Store for OnSqlite {
    async fn write(&self) -> Result<Ended, Failure> {
        if let Some(writer) = &self.writer {
            return writer.write().await;
        }
        let Some(mut connection) = self.pools.writers().take().await? else {
            return Ok(Ended::NotBegun);
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let ids = insert(&mut transaction).await?;
        transaction.commit().await?;
        self.pools.writers().give_back(connection);
        store::examine_written(&ids)
    }

    async fn read(&self) -> Result<Ended, Failure> {
        let Some(mut connection) = self.pools.readers().take().await? else {
            return Ok(Ended::NotBegun);
        };
        let parents: String = sqlx::query_scalar(SELECT_A)
            .fetch_one(&mut *connection)
            .await?;
        let parents: Vec<(i64, String, String)> = from_json(&parents)?;
        let ids: Vec<i64> = parents.iter().map(|(id, ..)| *id).collect();
        let children: String = sqlx::query_scalar(SELECT_B)
            .bind(to_json(&ids))
            .fetch_one(&mut *connection)
            .await?;
        self.pools.readers().give_back(connection);
        let children: Vec<(i64, i64, String)> = from_json(&children)?;
        let parents = parents
            .into_iter()
            .map(|(id, data, create_date)| A {
                id,
                data,
                create_date,
                bs: Vec::new(),
            })
            .collect();
        let children = children
            .into_iter()
            .map(|(id, a_id, data)| (a_id, B { id, data }));
        store::examine_read(&store::nested(parents, children)?)
    }

    fn in_use(&self) -> usize {
        self.pools.in_use()
    }

    async fn close(&self) {
        self.pools.close().await;
    }
}

fn to_json(rows: &impl Serialize) -> String {
    serde_json::to_string(rows).expect("lists of numbers and texts can be written as JSON")
}

fn from_json<T: DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Adds the rows of one write and returns the ids of its `a`.
async fn insert(connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
    let mut parents = sqlx::query_scalar(INSERT_A);
    for data in store::PARENTS {
        parents = parents.bind(data);
    }
    let ids: Vec<i64> = parents.fetch_all(&mut *connection).await?;
    let mut children = sqlx::query(INSERT_B);
    for (parent, data) in store::CHILDREN {
        // A place that is not there would bind NULL, which the table refuses.
        let place = usize::try_from(parent - 1).unwrap_or(usize::MAX);
        children = children.bind(ids.get(place)).bind(data);
    }
    children.execute(connection).await?;
    Ok(ids)
}

/// The writer's own.
struct OneConnection(Pool<Sqlite>);

impl Batch for OneConnection {
    async fn commit(&mut self, writes: usize) -> sqlx::Result<Vec<i64>> {
        let (parents, children) = together::rows(writes);
        let count = i64::try_from(parents.len()).unwrap_or(i64::MAX);
        let mut connection = self.0.take().await?.ok_or(sqlx::Error::PoolTimedOut)?;
        let ids: Vec<String> = sqlx::query_scalar(TOGETHER)
            .bind(to_json(&parents))
            .bind(count)
            .bind(to_json(&children))
            .bind(count)
            // Not only the first row: the commit comes after it.
            .fetch_all(&mut *connection)
            .await?;
        // Had anything failed, it would have been dropped with its transaction.
        self.0.give_back(connection);
        from_json(ids.first().ok_or(sqlx::Error::RowNotFound)?)
    }
}
