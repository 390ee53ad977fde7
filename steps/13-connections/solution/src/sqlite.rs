//! One operation on SQLite.

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::rows::{NEW, Parent, families};

/// The tables of this step. `b.a_id` has no index.
pub const TABLES: &str = "
    CREATE TABLE a (
        id INTEGER PRIMARY KEY,
        data TEXT NOT NULL,
        created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE TABLE b (
        id INTEGER PRIMARY KEY,
        a_id INTEGER NOT NULL REFERENCES a,
        data TEXT NOT NULL
    )";

/// The first query of a read.
pub const SELECT_A: &str = "SELECT id, data, created FROM a LIMIT 10";

/// The second query of a read: the rows of `b` for all ids in a JSON array.
pub const SELECT_B: &str = "\
    SELECT a_id, data FROM b WHERE a_id IN (SELECT value FROM json_each(?))";

/// Reads ten rows of `a` with [`SELECT_A`], and their rows of `b` with [`SELECT_B`].
///
/// # Errors
/// When the database fails.
pub async fn read(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Parent>> {
    // TODO(13.1): run both queries, and return their rows as families
    let parents: Vec<(i64, String)> = sqlx::query_as(SELECT_A).fetch_all(&mut *connection).await?;
    let ids: Vec<i64> = parents.iter().map(|(id, _)| *id).collect();
    let rows: Vec<(i64, String)> = sqlx::query_as(SELECT_B)
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(connection)
        .await?;
    Ok(families(parents, rows))
    // END TODO(13.1)
}

/// Stores the rows of [`NEW`](crate::rows::NEW) in one transaction. Returns the ids of
/// the rows of `a`, in the order of `NEW`.
///
/// # Errors
/// When the database fails. Then nothing is stored.
pub async fn write(connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
    // TODO(13.2): begin a transaction that writes, insert the rows, and commit
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut ids = Vec::with_capacity(NEW.len());
    for (data, _) in NEW {
        let id: i64 = sqlx::query_scalar("INSERT INTO a (data) VALUES (?) RETURNING id")
            .bind(data)
            .fetch_one(&mut *transaction)
            .await?;
        ids.push(id);
    }
    // The rows of `b` in one statement: each statement is a message to the thread of
    // the connection and back.
    let rows: Vec<(i64, &str)> = ids
        .iter()
        .zip(NEW)
        .flat_map(|(id, (_, children))| children.iter().map(|data| (*id, *data)))
        .collect();
    sqlx::query("INSERT INTO b (a_id, data) SELECT value ->> 0, value ->> 1 FROM json_each(?)")
        .bind(serde_json::json!(rows).to_string())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(ids)
    // END TODO(13.2)
}

/// Creates an index for [`SELECT_B`], unless it is there.
///
/// # Errors
/// When the database fails.
pub async fn create_index(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    // TODO(13.8): create the index `b_a_id`, by a statement that can be run again
    sqlx::query("CREATE INDEX IF NOT EXISTS b_a_id ON b (a_id)")
        .execute(connection)
        .await?;
    Ok(())
    // END TODO(13.8)
}

/// How SQLite would find the rows of a query: the texts of `EXPLAIN QUERY PLAN`.
///
/// # Errors
/// When the database fails.
pub async fn query_plan(
    connection: &mut SqliteConnection,
    sql: &'static str,
) -> sqlx::Result<Vec<String>> {
    // TODO(13.8): ask for the plan of `sql`, and return the column `detail` of its rows
    let rows: Vec<(i64, i64, i64, String)> =
        // `sql` is a constant of this program, so nobody can put SQL of theirs into it.
        sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|(_, _, _, detail)| detail).collect())
    // END TODO(13.8)
}
