//! An operation on SQLite and on PostgreSQL, and when its result is right.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use sqlx_postgres::{PgConnectOptions, PgConnection};

/// Rows that a write adds: `a`, and for each row of `b` the place of its parent
/// among them.
const PARENTS: [&str; 3] = ["a1", "a2", "a3"];
const CHILDREN: [(i32, &str); 5] = [(1, "b1"), (1, "b2"), (2, "b3"), (3, "b4"), (3, "b5")];

/// How many rows of `a` a read asks for.
const PAGE: usize = 10;

/// Ids and data of rows of `a`, and of their rows of `b` the parents' ids and data.
pub type Rows = (Vec<(i64, String)>, Vec<(i64, String)>);

/// A connection to a database.
pub trait Store: Sized + Send + 'static {
    type Options: Clone + Send + Sync + 'static;

    /// Makes the tables, with an index on `b.a_id`.
    const CREATE: &str;
    /// Empties them, and leaves the database nothing to do afterwards.
    const EMPTY: &str;

    fn open(options: &Self::Options) -> impl Future<Output = sqlx::Result<Self>> + Send;
    fn execute(&mut self, sql: &'static str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// How many rows of `a` and of `b` there are.
    fn count(&mut self) -> impl Future<Output = sqlx::Result<(i64, i64)>> + Send;

    /// So many writes in one transaction. Returns the ids of their rows of `a`, in the
    /// order of the writes.
    fn write(&mut self, writes: usize) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;

    /// A page of `a`, and in a second query its rows of `b`.
    fn read(&mut self) -> impl Future<Output = sqlx::Result<Rows>> + Send;
}

const COUNT: &str = "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)";

/// The rows of so many writes: `a`, and for each row of `b` the place of its
/// parent among them, from 1.
fn rows(writes: usize) -> (Vec<&'static str>, Vec<(i32, &'static str)>) {
    let places = (0_i32..).step_by(PARENTS.len()).take(writes);
    let children = places.flat_map(|before| CHILDREN.map(|(place, data)| (before + place, data)));
    (PARENTS.repeat(writes), children.collect())
}

// ---- SQLite

/// Any number of writes as one text: sqlx hands each text to SQLite's thread and waits
/// for it, which takes longer than the statements of one write. `?` are the rows of
/// `a`, how many they are, the rows of `b` with the places of their parents, and again
/// how many of `a`. The ids follow each other, since no other connection writes within the
/// transaction; the answer is those that are there.
const WRITE_TO_SQLITE: &str = "
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
const PAGE_OF_SQLITE: &str = "
    SELECT json_group_array(json_array(id, data, create_date))
    FROM (SELECT id, data, create_date FROM a LIMIT 10)";

const CHILDREN_OF_SQLITE: &str = "
    SELECT json_group_array(json_array(id, a_id, data))
    FROM b WHERE a_id IN (SELECT value FROM json_each(?))";

/// How a connection is made: durable after each commit, as on the other side.
pub fn sqlite(file: &std::path::Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // A connection that wants to write waits as long as it takes.
        .busy_timeout(Duration::from_hours(1))
}

impl Store for SqliteConnection {
    type Options = SqliteConnectOptions;

    const CREATE: &str = "
        CREATE TABLE a (
            id INTEGER PRIMARY KEY,
            data TEXT NOT NULL,
            create_date TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
        );
        CREATE TABLE b (
            id INTEGER PRIMARY KEY,
            a_id INTEGER NOT NULL REFERENCES a,
            data TEXT NOT NULL
        );
        CREATE INDEX b_a_id ON b (a_id)";
    const EMPTY: &str = "DELETE FROM b; DELETE FROM a; PRAGMA wal_checkpoint(TRUNCATE)";

    async fn open(options: &Self::Options) -> sqlx::Result<Self> {
        options.connect().await
    }

    async fn execute(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(sql).execute(self).await.map(drop)
    }

    async fn count(&mut self) -> sqlx::Result<(i64, i64)> {
        sqlx::query_as(COUNT).fetch_one(self).await
    }

    async fn write(&mut self, writes: usize) -> sqlx::Result<Vec<i64>> {
        let (parents, children) = rows(writes);
        let count = i64::try_from(parents.len()).unwrap_or(i64::MAX);
        let ids: Vec<String> = sqlx::query_scalar(WRITE_TO_SQLITE)
            .bind(to_json(&parents))
            .bind(count)
            .bind(to_json(&children))
            .bind(count)
            // Not only the first row: the commit comes after it.
            .fetch_all(self)
            .await?;
        from_json(&ids.concat())
    }

    async fn read(&mut self) -> sqlx::Result<Rows> {
        let page: String = sqlx::query_scalar(PAGE_OF_SQLITE)
            .fetch_one(&mut *self)
            .await?;
        let parents: Vec<(i64, String, String)> = from_json(&page)?;
        let ids: Vec<i64> = parents.iter().map(|(id, ..)| *id).collect();
        let children: String = sqlx::query_scalar(CHILDREN_OF_SQLITE)
            .bind(to_json(&ids))
            .fetch_one(self)
            .await?;
        let children: Vec<(i64, i64, String)> = from_json(&children)?;
        Ok((
            parents
                .into_iter()
                .map(|(id, data, _)| (id, data))
                .collect(),
            children.into_iter().map(|(_, a, data)| (a, data)).collect(),
        ))
    }
}

fn to_json(rows: &impl Serialize) -> String {
    serde_json::to_string(rows).expect("lists of numbers and texts can be written as JSON")
}

fn from_json<T: DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

// ---- PostgreSQL

/// Any number of writes in one round trip: a statement is a transaction. New ids
/// follow the order of the rows, so the number of an id tells whose it is; a place
/// that is not there is NULL, which the table refuses.
const WRITE: &str = "\
    WITH parent AS (INSERT INTO a (data) SELECT unnest($1::text[]) RETURNING id), \
    numbered AS (SELECT array_agg(id ORDER BY id) AS ids FROM parent), \
    child AS (INSERT INTO b (a_id, data) \
    SELECT ids[place], fresh.data \
    FROM numbered, unnest($2::integer[], $3::text[]) AS fresh (place, data)) \
    SELECT ids FROM numbered";

const SELECT_A: &str = "SELECT id, data, create_date FROM a LIMIT 10";

const SELECT_B: &str = "SELECT a_id, data, id FROM b WHERE a_id = ANY($1::integer[])";

impl Store for PgConnection {
    type Options = PgConnectOptions;

    const CREATE: &str = "
        DROP TABLE IF EXISTS b, a;
        CREATE TABLE a (
            id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            data text NOT NULL,
            create_date timestamp NOT NULL DEFAULT now()
        );
        CREATE TABLE b (
            id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            a_id integer NOT NULL REFERENCES a,
            data text NOT NULL
        );
        CREATE INDEX b_a_id ON b (a_id)";
    // A checkpoint is not allowed in the transaction that several statements are.
    const EMPTY: &str = "TRUNCATE a, b RESTART IDENTITY";

    async fn open(options: &Self::Options) -> sqlx::Result<Self> {
        options.connect().await
    }

    async fn execute(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(sql).execute(&mut *self).await?;
        sqlx::raw_sql("CHECKPOINT").execute(self).await.map(drop)
    }

    async fn count(&mut self) -> sqlx::Result<(i64, i64)> {
        sqlx::query_as(COUNT).fetch_one(self).await
    }

    async fn write(&mut self, writes: usize) -> sqlx::Result<Vec<i64>> {
        let (parents, children) = rows(writes);
        let (places, children): (Vec<i32>, Vec<&str>) = children.into_iter().unzip();
        let ids: Vec<i32> = sqlx::query_scalar(WRITE)
            .bind(parents)
            .bind(places)
            .bind(children)
            .fetch_one(self)
            .await?;
        Ok(ids.into_iter().map(i64::from).collect())
    }

    async fn read(&mut self) -> sqlx::Result<Rows> {
        let parents: Vec<(i32, String)> = sqlx::query_as(SELECT_A).fetch_all(&mut *self).await?;
        let ids: Vec<i32> = parents.iter().map(|(id, _)| *id).collect();
        let children: Vec<(i32, String)> =
            sqlx::query_as(SELECT_B).bind(ids).fetch_all(self).await?;
        let wide = |(id, data): (i32, String)| (id.into(), data);
        Ok((
            parents.into_iter().map(wide).collect(),
            children.into_iter().map(wide).collect(),
        ))
    }
}

// ---- results

/// Whether these are the ids of so many writes.
///
/// # Errors
///
/// Unless there is one for each parent, in their order.
pub fn examine_written(ids: &[i64], writes: usize) -> Result<(), String> {
    if ids.len() == writes * PARENTS.len() && ids.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(format!("{writes} writes have the ids {ids:?}"))
    }
}

/// Whether these rows are what whole writes leave.
///
/// # Errors
///
/// Unless they are no more than were asked for, each with all its children and no
/// others.
pub fn examine_read((parents, children): &Rows) -> Result<(), String> {
    let mut left = children.len();
    for (id, data) in parents {
        let mut found: Vec<&str> = children
            .iter()
            .filter(|(parent, _)| parent == id)
            .map(|(_, data)| data.as_str())
            .collect();
        found.sort_unstable();
        let place = (1..).zip(PARENTS).find(|(_, parent)| parent == data);
        let expected = CHILDREN
            .iter()
            .filter(|child| place.is_some_and(|(place, _)| place == child.0));
        if place.is_none() || !expected.map(|child| child.1).eq(found.iter().copied()) {
            return Err(format!("{data} has {found:?}"));
        }
        left -= found.len();
    }
    if parents.len() > PAGE || left > 0 {
        return Err(format!(
            "{} rows of a, {left} of b without a parent",
            parents.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(parents: &[(i64, &str)], children: &[(i64, &str)]) -> Result<(), String> {
        let own = |rows: &[(i64, &str)]| {
            let rows = rows.iter().map(|(id, data)| (*id, (*data).to_owned()));
            rows.collect::<Vec<_>>()
        };
        examine_read(&(own(parents), own(children)))
    }

    #[test]
    fn only_whole_writes_are_right() {
        let two = [(1, "b2"), (2, "b3"), (1, "b1")];
        assert_eq!(page(&[(1, "a1"), (2, "a2")], &two), Ok(()));
        assert_eq!(page(&[], &[]), Ok(()));
        assert!(page(&[(3, "a3")], &[(3, "b4")]).is_err());
        assert!(page(&[(3, "a3")], &[(3, "b4"), (3, "b5"), (3, "b5")]).is_err());
        assert!(page(&[(3, "a4")], &[]).is_err());
        assert!(page(&[(2, "a2")], &[(2, "b3"), (9, "b3")]).is_err());
        let eleven: Vec<_> = (0..11).map(|id| (id, "a2")).collect();
        let children: Vec<_> = (0..11).map(|id| (id, "b3")).collect();
        assert_eq!(page(&eleven[..10], &children[..10]), Ok(()));
        assert!(page(&eleven, &children).is_err());
    }

    #[test]
    fn ids_of_writes_are_counted_and_differ() {
        assert!(examine_written(&[1, 2, 3, 7, 8, 9], 2).is_ok());
        assert!(examine_written(&[1, 2], 1).is_err());
        assert!(examine_written(&[1, 2, 2], 1).is_err());
    }

    #[test]
    fn each_write_has_parents_of_its_own() {
        let (parents, children) = rows(2);
        assert_eq!(parents, ["a1", "a2", "a3", "a1", "a2", "a3"]);
        let places: Vec<i32> = children.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [1, 1, 2, 3, 3, 4, 4, 5, 6, 6]);
    }
}
