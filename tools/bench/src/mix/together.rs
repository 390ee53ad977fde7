//! Writes that are committed together, beside the strategies of step 13: one more
//! connection takes the writes that are waiting, stores their rows with one commit, and
//! then answers each. There is no timer: what has come meanwhile is the next batch.

use serde_json::json;
use sqlx::{ConnectOptions, SqliteConnection};
use sqlx_postgres::PgConnection;
use step13_solution::database::Database;
use step13_solution::error::Error;
use step13_solution::plan::Operation;
use step13_solution::rows::{NEW, examine_written};
use step13_solution::tables::Tables;
use tokio::sync::{mpsc, oneshot};

/// How many writes share a commit at most.
pub const MOST: usize = 100;

/// One text, since sqlx hands each text to SQLite's thread and waits for it. `?` are the
/// data of the rows of `a`, how many they are, the rows of `b` with the numbers of their
/// parents among those, and again how many of `a`. The ids follow each other, since no
/// other connection writes within the transaction.
const TO_SQLITE: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO a (id, data)
    SELECT last.id + key + 1, value
    FROM (SELECT coalesce(max(id), 0) AS id FROM a) AS last, json_each(?);
    INSERT INTO b (a_id, data)
    SELECT last.id - ? + (value ->> 0), value ->> 1
    FROM (SELECT max(id) AS id FROM a) AS last, json_each(?);
    SELECT id FROM a WHERE id > (SELECT max(id) FROM a) - ? ORDER BY id;
    COMMIT";

/// New ids follow the order of the rows, so the number of an id tells whose it is.
const TO_POSTGRES: &str = "
    WITH parent AS (INSERT INTO a (data) SELECT unnest($1::text[]) RETURNING id),
    numbered AS (SELECT array_agg(id ORDER BY id) AS ids FROM parent),
    child AS (INSERT INTO b (a_id, data)
        SELECT ids[number], fresh.data
        FROM numbered, unnest($2::bigint[], $3::text[]) AS fresh (number, data))
    SELECT unnest(ids) FROM numbered";

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    async fn write(&mut self, writes: usize) -> sqlx::Result<Vec<i64>> {
        let parents: Vec<&str> = NEW.map(|(data, _)| data).repeat(writes);
        let families = NEW.iter().cycle().take(parents.len());
        let (numbers, children): (Vec<i64>, Vec<&str>) = (1..)
            .zip(families)
            .flat_map(|(number, (_, children))| children.iter().map(move |data| (number, *data)))
            .unzip();
        let count = i64::try_from(parents.len()).unwrap_or(i64::MAX);
        match self {
            Self::Sqlite(connection) => {
                let rows: Vec<(i64, &str)> = numbers.into_iter().zip(children).collect();
                sqlx::query_scalar(TO_SQLITE)
                    .bind(json!(parents).to_string())
                    .bind(count)
                    .bind(json!(rows).to_string())
                    .bind(count)
                    // Not only the first row: the commit comes after it.
                    .fetch_all(connection)
                    .await
            }
            Self::Postgres(connection) => {
                sqlx::query_scalar(TO_POSTGRES)
                    .bind(parents)
                    .bind(numbers)
                    .bind(children)
                    .fetch_all(connection)
                    .await
            }
        }
    }
}

/// Reads from a pool, and one writer.
#[derive(Clone)]
pub struct Together {
    readers: Database,
    writer: mpsc::Sender<oneshot::Sender<Result<(), Error>>>,
}

impl Together {
    /// # Errors
    ///
    /// When the writer cannot connect.
    pub async fn new(tables: &Tables, readers: u32) -> sqlx::Result<Self> {
        let connection = match tables {
            Tables::Sqlite { options, .. } => Connection::Sqlite(options.connect().await?),
            Tables::Postgres { options, .. } => Connection::Postgres(options.connect().await?),
        };
        let (writer, waiting) = mpsc::channel(MOST);
        tokio::spawn(write(connection, waiting));
        Ok(Self {
            readers: tables.open(readers),
            writer,
        })
    }

    pub fn perform(
        &self,
        operation: Operation,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let Self { readers, writer } = self.clone();
        async move {
            if operation == Operation::Read {
                return readers.perform(operation).await;
            }
            let (answer, answered) = oneshot::channel();
            let gone = || Error::WrongRows("the writer has ended".to_owned());
            writer.send(answer).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        }
    }

    /// Closes the readers' connections.
    pub async fn close(self) {
        self.readers.close().await;
    }
}

/// When the database refuses a batch, all of its writes have failed. That ends the bench;
/// a service would do each on its own.
async fn write(
    mut connection: Connection,
    mut waiting: mpsc::Receiver<oneshot::Sender<Result<(), Error>>>,
) {
    let mut answers = Vec::with_capacity(MOST);
    while waiting.recv_many(&mut answers, MOST).await > 0 {
        let ids = connection.write(answers.len()).await;
        let failure = ids.as_ref().err().map(ToString::to_string);
        let ids = ids.unwrap_or_default();
        let mut each = ids.chunks(NEW.len());
        for answer in answers.drain(..) {
            let result = match &failure {
                Some(text) => Err(Error::WrongRows(text.clone())),
                None => examine_written(each.next().unwrap_or_default()),
            };
            // A caller that was dropped does not need it.
            let _ = answer.send(result);
        }
    }
}
