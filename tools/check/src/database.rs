//! A private database for each check.

mod files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Decode, Sqlite, SqliteConnection, Type};
use tempfile::TempDir;

use crate::failure::{Failure, OrFail};
use files::remove_at_end;

pub(crate) use files::remove_leftovers;

/// How long [`Database::wait_until_closed`] waits before it says that a
/// connection is still open.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A fresh SQLite file in WAL mode with the market's schema, in a temporary
/// directory that is removed on drop.
///
/// A [`Recording`](crate::statements::Recording) does not contain the statements
/// that these methods execute.
pub struct Database {
    _dir: TempDir,
    path: PathBuf,
}

/// All rows of all tables, to prove that nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Each is the name of its table, a colon, and a JSON list.
    rows: BTreeSet<String>,
}

impl Database {
    /// The schema and the sample data: `data/sample.sql` and `data/sample_books.sql`.
    pub async fn sample() -> Result<Self, Failure> {
        Self::from_file(files::sample().await?)
    }

    pub async fn empty() -> Result<Self, Failure> {
        Self::from_file(&files::empty().await?)
    }

    /// A database that an older program has made: the schema up to this migration and
    /// the data of `data/sample.sql`.
    pub async fn older(migration: i64) -> Result<Self, Failure> {
        Self::from_file(&files::older(migration).await?)
    }

    fn from_file(content: &[u8]) -> Result<Self, Failure> {
        let database = Self::in_new_directory()?;
        std::fs::write(&database.path, content).or_fail("a database file for the check")?;
        Ok(database)
    }

    fn in_new_directory() -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("market-check-")
            .tempdir()
            .or_fail("a temporary directory for the check")?;
        remove_at_end(dir.path());
        let path = dir.path().join("market.sqlite");
        Ok(Self { _dir: dir, path })
    }

    /// `sqlite:///absolute/path`, as `DATABASE_URL` has it.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path.display())
    }

    /// The file. `-wal` and `-shm` are beside it while a connection is open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A plain connection with foreign keys on, to inspect the database. Close it before
    /// [`Database::wait_until_closed`].
    pub async fn connect(&self) -> Result<SqliteConnection, Failure> {
        SqliteConnectOptions::new()
            .filename(&self.path)
            // No check's database has to survive a power failure.
            .synchronous(SqliteSynchronous::Off)
            // Its own statements must not count as the service's.
            .disable_statement_logging()
            .connect()
            .await
            .or_fail("a connection to the check's database")
    }

    /// The single value that `sql` selects. Use `Option<_>` for one that may be
    /// NULL: sqlx decodes NULL into an `i64` as 0, without an error.
    pub async fn one<T>(&self, sql: &str) -> Result<T, Failure>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + Send + Unpin,
    {
        let mut connection = self.connect().await?;
        let value = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await
            .or_fail(sql);
        close(connection).await?;
        value
    }

    pub async fn execute(&self, sql: &str) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .or_fail(sql);
        close(connection).await?;
        done.map(drop)
    }

    /// Adds `count` customers, each with an address, with the ids after the
    /// highest one. The same call always adds the same rows.
    pub async fn add_customers(&self, count: u32) -> Result<(), Failure> {
        self.execute(&format!(
            "BEGIN IMMEDIATE;
             CREATE TEMP TABLE new AS WITH RECURSIVE n (i) AS (
                 SELECT 1 WHERE {count} > 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count}
             )
             SELECT i, i + (SELECT coalesce(max(id), 0) FROM address) AS address,
                    i + (SELECT coalesce(max(id), 0) FROM customer) AS customer FROM n;
             INSERT INTO address (id, flat_number, post_code)
             SELECT address, 1 + i % 999, 10000 + i % 90000 FROM new;
             INSERT INTO customer (id, name, address_id)
             SELECT customer, 'Customer ' || customer, address FROM new;
             COMMIT;"
        ))
        .await
    }

    /// Adds `count` orders of `items_each` (1 to 4) different sample items, with
    /// the ids after the highest one, one customer after another. Their times are a
    /// minute apart, from `2024-04-01 00:00:00` on, in the order of their ids. The
    /// same call always adds the same rows.
    pub async fn add_orders(&self, count: u32, items_each: u32) -> Result<(), Failure> {
        self.execute(&format!(
            "BEGIN IMMEDIATE;
             CREATE TEMP TABLE new AS WITH RECURSIVE n (i) AS (
                 SELECT 1 WHERE {count} > 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count}
             )
             SELECT i, i + (SELECT coalesce(max(id), 0) FROM orders) AS id FROM n;
             INSERT INTO orders (id, customer_id, order_time)
             SELECT id, 1 + i % (SELECT max(id) FROM customer),
                    datetime('2024-04-01 00:00:00', '+' || (i - 1) || ' minutes')
             FROM new;
             WITH k (j) AS (VALUES (1), (2), (3), (4))
             INSERT INTO order_items (order_id, item_id, quantity)
             SELECT id, 1 + (i + j) % 4, 1 + (i + j) % 5
             FROM new, k WHERE j <= {items_each} ORDER BY i, j;
             COMMIT;"
        ))
        .await
    }

    /// Adds a customer with this id, who lives at address 1.
    pub async fn add_customer(&self, id: i64, name: &str) -> Result<(), Failure> {
        let name = name.replace('\'', "''");
        self.execute(&format!("INSERT INTO customer VALUES ({id}, '{name}', 1)"))
            .await
    }

    /// Adds an item with this id, without a description.
    pub async fn add_item(&self, id: i64, name: &str, price_cents: i64) -> Result<(), Failure> {
        let name = name.replace('\'', "''");
        self.execute(&format!(
            "INSERT INTO item (id, name, price_cents) VALUES ({id}, '{name}', {price_cents})"
        ))
        .await
    }

    /// Adds an order with this id and these items (item id and quantity), in this
    /// order. Its time is `id` minutes after `2024-04-01 00:00:00`.
    pub async fn add_order(
        &self,
        id: i64,
        customer_id: i64,
        items: &[(i64, i64)],
    ) -> Result<(), Failure> {
        let insert = |(item, quantity): &(i64, i64)| {
            format!("INSERT INTO order_items VALUES ({id}, {item}, {quantity});")
        };
        let lines = items.iter().map(insert).collect::<Vec<_>>().concat();
        self.execute(&format!(
            "BEGIN IMMEDIATE;
             INSERT INTO orders (id, customer_id, order_time) VALUES
                 ({id}, {customer_id}, datetime('2024-04-01 00:00:00', '{id} minutes'));
             {lines} COMMIT;"
        ))
        .await
    }

    /// Makes SQLite refuse a kind of change from now on, until [`Database::allow`].
    /// `change` is the head of a trigger: `INSERT ON order_items`,
    /// `UPDATE ON item`, `DELETE ON orders`, or one with a condition as in
    /// `INSERT ON order_items WHEN new.item_id = 3`. The statement fails with the
    /// message "refused by the check".
    pub async fn refuse(&self, change: &str) -> Result<(), Failure> {
        self.execute(&format!(
            "CREATE TRIGGER \"refuse {change}\" BEFORE {change}
             BEGIN SELECT RAISE(ABORT, 'refused by the check'); END"
        ))
        .await
    }

    /// Allows all changes again that [`Database::refuse`] has forbidden.
    pub async fn allow(&self) -> Result<(), Failure> {
        let drop_all: Option<String> = self
            .one(
                "SELECT group_concat('DROP TRIGGER \"' || name || '\"', ';')
                 FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'refuse %'",
            )
            .await?;
        self.execute(&drop_all.unwrap_or_default()).await
    }

    /// Waits until no connection to the database is open: SQLite removes the `-wal`
    /// file when the last connection closes. It waits in real time even where
    /// tokio's time is paused, and fails after 5 s.
    pub async fn wait_until_closed(&self) -> Result<(), Failure> {
        let wal = self.path.with_extension("sqlite-wal");
        let start = Instant::now();
        for look in 1.. {
            if !wal.exists() {
                break;
            }
            let seconds = CLOSE_LIMIT.as_secs();
            crate::ensure(
                start.elapsed() < CLOSE_LIMIT,
                "is the database still open?",
                "no connection left open",
                format_args!("a connection is still open after {seconds} s"),
            )?;
            if look % 100 == 0 {
                // When two connections close at the same moment, each takes the other
                // for open, and the file remains although no connection is open. The
                // next connection that opens and closes removes it then. It may fail,
                // for example while another one holds an exclusive lock.
                let _ = self.one::<i64>("SELECT count(*) FROM sqlite_schema").await;
            }
            let pause = || std::thread::sleep(Duration::from_millis(2));
            let paused = tokio::task::spawn_blocking(pause).await;
            paused.or_fail("the wait for the database to be closed")?;
        }
        Ok(())
    }

    /// Takes SQLite's only write lock, as a writer that is slow to commit does.
    /// Readers go on; other writers wait for their busy timeout and then fail.
    pub async fn lock_exclusively(&self) -> Result<WriteLock, Failure> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .or_fail("the write lock for the check")?;
        Ok(WriteLock { connection })
    }

    /// All rows of all tables as they are now, except those of sqlx's migration
    /// table, and without the keys of orders, which only step 16 knows.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        // One statement, so that all rows are of the same moment.
        let select: String = self
            .one(
                "SELECT group_concat('SELECT ''' || name || ': '' || json_array(' || columns
                                     || ') FROM \"' || name || '\"', ' UNION ALL ')
                 FROM (SELECT t.name, group_concat('\"' || c.name || '\"', ', ') AS columns
                       FROM sqlite_master AS t, pragma_table_info(t.name) AS c
                       WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
                         AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                         AND c.name <> 'idempotency_key'
                       GROUP BY t.name)",
            )
            .await?;
        let mut connection = self.connect().await?;
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select))
            .fetch_all(&mut connection)
            .await
            .or_fail("all rows of the check's database")?;
        close(connection).await?;
        Ok(Snapshot {
            rows: rows.into_iter().collect(),
        })
    }

    /// Fails unless all rows are as they were at `before`.
    pub async fn expect_unchanged(&self, asked: &str, before: &Snapshot) -> Result<(), Failure> {
        let difference = before.difference(&self.snapshot().await?);
        crate::ensure(
            difference.is_empty(),
            asked,
            "nothing changed in the database",
            difference,
        )
    }
}

impl Snapshot {
    /// One line for each row that is in only one of the two snapshots; empty when
    /// they are the same.
    pub fn difference(&self, later: &Self) -> String {
        let (new, gone) = (&later.rows - &self.rows, &self.rows - &later.rows);
        let new = new.iter().map(|row| format!("new in {row}"));
        let gone = gone.iter().map(|row| format!("gone from {row}"));
        new.chain(gone).collect::<Vec<_>>().join("\n")
    }
}

/// The write lock of a [`Database`], held until [`WriteLock::release`] or drop.
#[must_use = "dropping this releases the lock"]
pub struct WriteLock {
    connection: SqliteConnection,
}

impl WriteLock {
    /// Releases the lock before it returns. Dropping the lock releases it shortly
    /// afterwards.
    pub async fn release(self) -> Result<(), Failure> {
        close(self.connection).await
    }
}

async fn close(connection: SqliteConnection) -> Result<(), Failure> {
    connection
        .close()
        .await
        .or_fail("the end of the check's own connection")
}
