//! Seeded databases, which are kept from run to run.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::{contender, program};

/// The market's database with so many customers and orders added to the sample, in
/// `databases` in the [output folder](program::output_folder). It is made when it
/// is missing, or when the schema or what `marketsvc seed` makes has changed;
/// those that were made before that are removed.
///
/// It is for reading. A program that writes gets a copy.
///
/// # Errors
///
/// When it cannot be made.
pub fn seeded(customers: u32, orders: u32) -> Result<PathBuf> {
    let folder = program::output_folder()?.join("databases");
    fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
    let key = key(&folder)?;
    remove_others(&folder, &key)?;
    let name = format!("{key}-{customers}-customers-{orders}-orders.sqlite");
    let path = folder.join(&name);
    if !path.is_file() {
        eprintln!("seeding {customers} customers and {orders} orders");
        // Under its own name only when it is complete.
        let unfinished = folder.join(format!("{key}-unfinished.sqlite"));
        for suffix in ["", "-wal", "-shm"] {
            let mut left = unfinished.clone().into_os_string();
            left.push(suffix);
            remove(Path::new(&left))?;
        }
        seed(&unfinished, customers, orders)?;
        fs::rename(&unfinished, &path).map_err(Error::io(format!("make {}", path.display())))?;
    }
    Ok(path)
}

/// Adds made-up rows to the database, which is created when it is missing; the
/// same ones each time.
fn seed(database: &Path, customers: u32, orders: u32) -> Result<()> {
    let mut seed = contender::marketsvc(database)?;
    seed.arg("seed")
        .args(["--customers", &customers.to_string()])
        .args(["--orders", &orders.to_string()]);
    program::output(&mut seed).map(drop)
}

/// A copy for a program that writes. It is on disk when this returns, so that no
/// contender waits for that later.
///
/// # Errors
///
/// When it cannot be made.
pub fn copy(database: &Path, copy: &Path) -> Result<()> {
    fs::copy(database, copy)
        .and_then(|_| fs::File::open(copy)?.sync_all())
        .map_err(Error::io(format!(
            "copy the database to {}",
            copy.display()
        )))
}

/// Reads the whole file, so that no contender waits for the disk.
///
/// # Errors
///
/// When it cannot be read.
pub fn warm(database: &Path) -> Result<()> {
    let action = || format!("read {}", database.display());
    let mut file = fs::File::open(database).map_err(Error::io(action()))?;
    std::io::copy(&mut file, &mut std::io::sink()).map_err(Error::io(action()))?;
    Ok(())
}

/// Stands for the schema and for what `marketsvc seed` makes: a hash of a small
/// database.
fn key(folder: &Path) -> Result<String> {
    static KEY: OnceLock<String> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key.clone());
    }
    let small = tempfile::tempdir_in(folder).map_err(Error::io("make a temporary folder"))?;
    let database = small.path().join("market.sqlite");
    seed(&database, 100, 100)?;
    let key = format!("{:016x}", contents(&database)?);
    Ok(KEY.get_or_init(|| key).clone())
}

/// A hash of the schema and of all rows, without what sqlx keeps there: it holds the
/// time of the migration.
fn contents(database: &Path) -> Result<u64> {
    let clean = database.with_extension("clean");
    let connection = Connection::open(database)?;
    connection.execute("DROP TABLE IF EXISTS _sqlx_migrations", [])?;
    connection.execute("VACUUM INTO ?", [clean.to_string_lossy()])?;
    let bytes = fs::read(&clean).map_err(Error::io(format!("read {}", clean.display())))?;
    let mut hash = DefaultHasher::new();
    // Not the header, which counts how often the schema has changed.
    bytes.get(100..).hash(&mut hash);
    Ok(hash.finish())
}

/// Removes databases whose name does not begin with `key`.
fn remove_others(folder: &Path, key: &str) -> Result<()> {
    let listed = || Error::io(format!("list {}", folder.display()));
    for entry in fs::read_dir(folder).map_err(listed())? {
        let entry = entry.map_err(listed())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".sqlite") && !name.starts_with(key) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_database_decides_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |name: &str, sql: &str| {
            let path = folder.path().join(name);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            contents(&path).unwrap()
        };
        let table = "CREATE TABLE a (id INTEGER PRIMARY KEY, b);";
        let rows = "INSERT INTO a VALUES (1, 'x'), (2, NULL);";
        let first = hash("1", &format!("{table}{rows}"));
        let again = hash("2", &format!("{table}{rows}"));
        assert_eq!(first, again);
        let sqlx = "CREATE TABLE _sqlx_migrations (time); INSERT INTO _sqlx_migrations VALUES (1);";
        assert_eq!(first, hash("3", &format!("{table}{rows}{sqlx}")));
        for (name, other) in [
            (
                "4",
                format!("{table}INSERT INTO a VALUES (1, 'y'), (2, NULL);"),
            ),
            ("5", format!("{table}{rows}INSERT INTO a VALUES (3, 1);")),
            ("6", format!("{table}{rows}CREATE INDEX i ON a (b);")),
        ] {
            assert_ne!(first, hash(name, &other), "{other}");
        }
    }

    #[test]
    fn databases_of_another_key_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "old-1.sqlite",
            "old-1.sqlite-wal",
            "new-1.sqlite",
            "notes.txt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_others(folder.path(), "new").unwrap();
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["new-1.sqlite", "notes.txt"]);
    }
}
