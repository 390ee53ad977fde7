//! One operation on SQLite.

use sqlx::SqliteConnection;

use crate::rows::Parent;

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
    let _ = connection; // remove this line and the next
    todo!("read ten rows of `a` and their rows of `b`")
    // END TODO(13.1)
}

/// Stores the rows of [`NEW`](crate::rows::NEW) in one transaction. Returns the ids of
/// the rows of `a`, in the order of `NEW`.
///
/// # Errors
/// When the database fails. Then nothing is stored.
pub async fn write(connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
    // TODO(13.2): begin a transaction that writes, insert the rows, and commit
    let _ = connection; // remove this line and the next
    todo!("store the rows of `NEW` in one transaction")
    // END TODO(13.2)
}

/// Creates an index for [`SELECT_B`], unless it is there.
///
/// # Errors
/// When the database fails.
pub async fn create_index(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    // TODO(13.8): create the index `b_a_id`, by a statement that can be run again
    let _ = connection; // remove this line and the next
    todo!("create the index `b_a_id`")
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
    let _ = (connection, sql); // remove this line and the next
    todo!("ask for the plan of `sql`")
    // END TODO(13.8)
}
