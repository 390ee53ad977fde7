//! What an operation is on any database, and when its result is right.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, Database};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::operations::Operation;
use super::strategy::Ended;

/// Rows that a write adds: `a`, and for each row of `b` the place of its parent
/// among them.
pub const PARENTS: [&str; 3] = ["a1", "a2", "a3"];
pub const CHILDREN: [(i32, &str); 5] = [(1, "b1"), (1, "b2"), (2, "b3"), (3, "b4"), (3, "b5")];

/// How long making a connection may take; a hundred of them at once take a while.
const CONNECT: Duration = Duration::from_secs(30);

/// How many rows of `a` a read asks for.
pub const PAGE: usize = 10;

/// A database and a way to use its connections; clones share the connections.
pub trait Store: Clone + Send + Sync + 'static {
    /// One transaction.
    fn write(&self) -> impl Future<Output = Result<Ended, Failure>> + Send;

    /// Two queries over one connection.
    fn read(&self) -> impl Future<Output = Result<Ended, Failure>> + Send;

    /// Connections that somebody holds now.
    fn in_use(&self) -> usize;

    /// Waits until all connections are closed.
    fn close(&self) -> impl Future<Output = ()> + Send;

    fn perform(&self, operation: Operation) -> impl Future<Output = Result<Ended, Failure>> + Send {
        async move {
            match operation {
                Operation::Write => self.write().await,
                Operation::Read => self.read().await,
            }
        }
    }
}

/// Why an operation does not count.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// Of the transaction that it shared with others.
    #[error("the transaction with others: {0}")]
    Together(Arc<sqlx::Error>),
    #[error("{0}")]
    Wrong(String),
}

/// Who holds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Reads and writes take one of so many.
    Shared(u32),
    /// One writes, so many read.
    OneWriter(u32),
    /// One writes, and commits whatever is waiting together; so many read.
    CommitTogether(u32),
}

impl Connections {
    /// How many there are at most.
    pub fn most(self) -> u32 {
        match self {
            Self::Shared(most) => most,
            Self::OneWriter(readers) | Self::CommitTogether(readers) => readers + 1,
        }
    }
}

/// Where an operation takes its connection from.
pub struct Pools<DB: Database> {
    writers: Pool<DB>,
    /// `None`: the same as the writers'.
    readers: Option<Pool<DB>>,
}

impl<DB: Database> Clone for Pools<DB> {
    fn clone(&self) -> Self {
        Self {
            writers: self.writers.clone(),
            readers: self.readers.clone(),
        }
    }
}

impl<DB: Database> Pools<DB> {
    /// Connects when a connection is needed; whoever waits for one gives up
    /// after `patience`.
    pub fn new(
        connections: Connections,
        patience: Duration,
        options: &<DB::Connection as Connection>::Options,
    ) -> Self {
        let pool = |most| Pool::new(most, patience, options.clone());
        match connections {
            Connections::Shared(most) => Self {
                writers: pool(most),
                readers: None,
            },
            Connections::OneWriter(readers) | Connections::CommitTogether(readers) => Self {
                writers: pool(1),
                readers: Some(pool(readers)),
            },
        }
    }

    pub fn writers(&self) -> &Pool<DB> {
        &self.writers
    }

    pub fn readers(&self) -> &Pool<DB> {
        self.readers.as_ref().unwrap_or(&self.writers)
    }

    /// Connections that somebody holds.
    pub fn in_use(&self) -> usize {
        self.writers.in_use() + self.readers.as_ref().map_or(0, Pool::in_use)
    }

    /// Closes those that nobody holds, and waits until they are closed.
    pub async fn close(&self) {
        self.writers.close().await;
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
    }
}

/// Connections that go from one operation to the next.
///
/// sqlx's own pool asks each connection that is given back for a sign of life: a
/// round trip more for every operation, which is as much as a statement. Here a
/// connection is given back by who has had its answers from it, and closed if
/// it is dropped instead.
pub struct Pool<DB: Database>(Arc<Inner<DB>>);

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<DB: Database> {
    most: usize,
    patience: Duration,
    options: <DB::Connection as Connection>::Options,
    /// A permit for each connection that nobody holds, open or not.
    free: Arc<Semaphore>,
    /// The last one that was given back goes first: its memory is in the cache.
    idle: Mutex<Vec<DB::Connection>>,
}

impl<DB: Database> Pool<DB> {
    fn new(
        most: u32,
        patience: Duration,
        options: <DB::Connection as Connection>::Options,
    ) -> Self {
        let most = most as usize;
        Self(Arc::new(Inner {
            most,
            patience,
            options,
            free: Arc::new(Semaphore::new(most)),
            idle: Mutex::new(Vec::with_capacity(most)),
        }))
    }

    /// A connection, or `None` when there was none in time.
    ///
    /// # Errors
    ///
    /// When a new one is needed and cannot be made, or not in time.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has taken nothing.
    pub async fn take(&self) -> sqlx::Result<Option<Held<DB>>> {
        let pool = &*self.0;
        let Ok(free) = time::timeout(pool.patience, pool.free.clone().acquire_owned()).await else {
            return Ok(None);
        };
        let permit = free.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => time::timeout(CONNECT, pool.options.connect())
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)??,
        };
        Ok(Some(Held { connection, permit }))
    }

    /// For the next one who needs it.
    pub fn give_back(&self, held: Held<DB>) {
        self.idle().push(held.connection);
        // Only now may somebody come for it.
        drop(held.permit);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<DB::Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> usize {
        self.0.most - self.0.free.available_permits()
    }

    async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            // It is gone either way.
            let _ = connection.close().await;
        }
    }
}

/// A connection that nobody else has; closed when it is dropped.
pub struct Held<DB: Database> {
    connection: DB::Connection,
    permit: OwnedSemaphorePermit,
}

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

/// A row of `a` with its rows of `b`, as a service would hand it on.
#[derive(Debug)]
pub struct A<D> {
    pub id: i64,
    pub data: String,
    #[expect(dead_code, reason = "read from the database because a service would")]
    pub create_date: D,
    pub bs: Vec<B>,
}

#[derive(Debug)]
pub struct B {
    pub id: i64,
    pub data: String,
}

/// Puts the rows of both queries together.
///
/// # Errors
///
/// When a row of `b` belongs to none of the parents that were asked for.
pub fn nested<D>(
    parents: Vec<A<D>>,
    children: impl IntoIterator<Item = (i64, B)>,
) -> Result<Vec<A<D>>, Failure> {
    let mut parents = parents;
    let places: HashMap<i64, usize> = parents
        .iter()
        .enumerate()
        .map(|(place, parent)| (parent.id, place))
        .collect();
    for (a_id, child) in children {
        let Some(&place) = places.get(&a_id) else {
            return Err(Failure::Wrong(format!("b {} is of a {a_id}", child.id)));
        };
        parents[place].bs.push(child);
    }
    Ok(parents)
}

/// The ids that a write has got.
///
/// # Errors
///
/// Unless there is one for each parent.
pub fn examine_written(ids: &[i64]) -> Result<Ended, Failure> {
    match ids {
        [first, second, third] if first != second && second != third && first != third => {
            Ok(Ended::Done)
        }
        _ => Err(Failure::Wrong(format!(
            "{} ids where three were inserted",
            ids.len()
        ))),
    }
}

/// The rows that a read has got.
///
/// # Errors
///
/// Unless they are what whole writes leave: no more than were asked for, each
/// with all its children.
pub fn examine_read<D>(rows: &[A<D>]) -> Result<Ended, Failure> {
    if rows.len() > PAGE {
        return Err(Failure::Wrong(format!("{} rows of a", rows.len())));
    }
    for row in rows {
        let place = PARENTS.iter().position(|data| *data == row.data);
        let place = place.map(|place| place + 1);
        let mut found: Vec<&str> = row.bs.iter().map(|b| b.data.as_str()).collect();
        found.sort_unstable();
        let expected = CHILDREN
            .iter()
            .filter(|(parent, _)| usize::try_from(*parent).ok() == place)
            .map(|(_, data)| *data);
        if place.is_none() || !expected.eq(found.iter().copied()) {
            return Err(Failure::Wrong(format!("{} has {found:?}", row.data)));
        }
    }
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, data: &str, children: &[&str]) -> A<()> {
        let children = children.iter().map(|data| B {
            id: 0,
            data: (*data).to_owned(),
        });
        A {
            id,
            data: data.to_owned(),
            create_date: (),
            bs: children.collect(),
        }
    }

    #[test]
    fn only_whole_writes_are_right() {
        let whole = [row(1, "a1", &["b2", "b1"]), row(2, "a2", &["b3"])];
        assert!(examine_read(&whole).is_ok());
        assert!(examine_read::<()>(&[]).is_ok());
        assert!(examine_read(&[row(3, "a3", &["b4"])]).is_err());
        assert!(examine_read(&[row(3, "a3", &["b4", "b5", "b5"])]).is_err());
        assert!(examine_read(&[row(3, "a4", &[])]).is_err());
        let eleven: Vec<_> = (0..11).map(|id| row(id, "a2", &["b3"])).collect();
        assert!(examine_read(&eleven[..10]).is_ok());
        assert!(examine_read(&eleven).is_err());
    }

    #[test]
    fn three_ids_that_differ_are_right() {
        assert!(examine_written(&[1, 2, 3]).is_ok());
        assert!(examine_written(&[1, 2]).is_err());
        assert!(examine_written(&[1, 2, 1]).is_err());
    }

    #[test]
    fn children_find_their_parents() {
        let child = |data: &str| B {
            id: 9,
            data: data.to_owned(),
        };
        let parents = vec![row(7, "a2", &[]), row(4, "a2", &[])];
        let rows = nested(parents, [(4, child("x")), (7, child("y"))]).unwrap();
        assert_eq!((rows[0].bs[0].data.as_str(), rows[1].bs.len()), ("y", 1));
        assert!(nested(vec![row(7, "a2", &[])], [(4, child("x"))]).is_err());
    }
}
