//! The mix on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous,
};
use sqlx::{Acquire, ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use super::store::{self, A, B, Connections, Failure, Pools, Store};
use super::strategy::Ended;

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

const SELECT_A: &str = "SELECT id, data, create_date FROM a LIMIT 10";

/// Fewer than ten ids are made ten with NULL, which is in no row.
const SELECT_B: &str = "SELECT id, a_id, data FROM b WHERE a_id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// How many writes share a commit at most.
const TOGETHER: usize = 100;

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
    /// Writes that wait for the one that commits them together.
    queue: Option<mpsc::Sender<Answer>>,
}

/// Where the result of a write is waited for.
type Answer = oneshot::Sender<Result<Ended, Failure>>;

impl OnSqlite {
    /// Opens connections to `file` when they are needed; an operation waits for
    /// one for at most `patience`. Needs a runtime.
    pub fn new(file: &Path, connections: Connections, patience: Duration) -> Self {
        let pools = Pools::new(connections, patience, &options(file));
        let queue = matches!(connections, Connections::CommitTogether(_)).then(|| {
            let (queue, waiting) = mpsc::channel(TOGETHER);
            tokio::spawn(commit_together(pools.writers().clone(), waiting));
            queue
        });
        Self { pools, queue }
    }

    #[cfg(test)]
    pub fn pools(&self) -> &Pools<Sqlite> {
        &self.pools
    }
}

impl Store for OnSqlite {
    async fn write(&self) -> Result<Ended, Failure> {
        if let Some(queue) = &self.queue {
            let (answer, answered) = oneshot::channel();
            if queue.send(answer).await.is_err() {
                return Err(Failure::Wrong("the writer is gone".to_owned()));
            }
            return answered
                .await
                .unwrap_or_else(|_| Err(Failure::Wrong("the writer is gone".to_owned())));
        }
        let Some(mut connection) = store::acquire(self.pools.writers()).await? else {
            return Ok(Ended::NotBegun);
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let ids = insert(&mut transaction).await?;
        transaction.commit().await?;
        store::examine_written(&ids)
    }

    async fn read(&self) -> Result<Ended, Failure> {
        let Some(mut connection) = store::acquire(self.pools.readers()).await? else {
            return Ok(Ended::NotBegun);
        };
        let parents: Vec<(i64, String, String)> =
            sqlx::query_as(SELECT_A).fetch_all(&mut *connection).await?;
        let mut children = sqlx::query_as(SELECT_B);
        for place in 0..store::PAGE {
            children = children.bind(parents.get(place).map(|(id, ..)| *id));
        }
        let children: Vec<(i64, i64, String)> = children.fetch_all(&mut *connection).await?;
        drop(connection);
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

/// Takes the writes that are waiting, does each in a savepoint, commits once and
/// then answers all of them.
async fn commit_together(writers: SqlitePool, mut waiting: mpsc::Receiver<Answer>) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut batch, TOGETHER).await > 0 {
        let results = match commit(&writers, batch.len()).await {
            Ok(results) => results,
            Err(error) => {
                let error = Arc::new(error);
                let failed = |_| Err(Failure::Commit(error.clone()));
                batch.iter().map(failed).collect()
            }
        };
        for (answer, result) in batch.drain(..).zip(results) {
            // Whoever does not listen any more does not need it.
            let _ = answer.send(result);
        }
    }
}

/// So many writes in one transaction; one that fails takes back only itself.
///
/// # Errors
///
/// When the transaction fails, and with it all of them.
async fn commit(writers: &SqlitePool, count: usize) -> sqlx::Result<Vec<Result<Ended, Failure>>> {
    let mut transaction = writers.begin_with("BEGIN IMMEDIATE").await?;
    let mut results = Vec::with_capacity(count);
    for _ in 0..count {
        let mut savepoint = transaction.begin().await?;
        results.push(match insert(&mut savepoint).await {
            Ok(ids) => {
                savepoint.commit().await?;
                store::examine_written(&ids)
            }
            Err(error) => {
                savepoint.rollback().await?;
                Err(error.into())
            }
        });
    }
    transaction.commit().await?;
    Ok(results)
}
