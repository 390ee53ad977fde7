//! How the database is.

use sqlx::sqlite::SqlitePool;

use super::Db;
use crate::metrics::Pool;
use crate::{Error, trace};

impl Db {
    /// Reads something from the database, and sees whether its file is still
    /// where it was.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Database`].
    pub async fn reach(&self) -> Result<(), Error> {
        self.place.check()?;
        trace::statement();
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1")
            .fetch_one(&self.readers)
            .await?;
        Ok(())
    }

    /// How much of its connections is in use.
    pub fn pools(&self) -> [Pool; 3] {
        [
            ("readers", &self.readers),
            ("totals", self.totals.pool()),
            ("writer", &self.writer),
        ]
        .map(|(name, pool)| state(name, pool))
    }
}

fn state(name: &'static str, pool: &SqlitePool) -> Pool {
    let size = pool.size();
    let idle = u32::try_from(pool.num_idle()).unwrap_or(size);
    Pool {
        name,
        size,
        in_use: size.saturating_sub(idle),
    }
}
