//! The rows that an operation writes or reads, and when they are right.

use std::collections::HashMap;

use crate::error::Error;

/// How many rows of `a` a read asks for.
pub const PAGE: usize = 10;

/// A row of `a` with the data of its rows of `b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub id: i64,
    pub data: String,
    pub children: Vec<String>,
}

/// Makes one list of the ids and data of rows of `a` and of the parents' ids and data of
/// rows of `b`, in the order of `parents`. A row of `a` may have no rows of `b`.
pub fn families(parents: Vec<(i64, String)>, rows_of_b: Vec<(i64, String)>) -> Vec<Parent> {
    // TODO(13.1): give each row of `b` to its row of `a`
    let mut children: HashMap<i64, Vec<String>> = HashMap::new();
    for (parent, data) in rows_of_b {
        children.entry(parent).or_default().push(data);
    }
    let parents = parents.into_iter().map(|(id, data)| Parent {
        id,
        data,
        children: children.remove(&id).unwrap_or_default(),
    });
    parents.collect()
    // END TODO(13.1)
}

/// What one write stores: the data of three rows of `a`, and of their rows of `b`.
pub const NEW: [(&str, &[&str]); 3] = [
    ("a1", &["b1", "b2"]),
    ("a2", &["b3"]),
    ("a3", &["b4", "b5"]),
];

/// Looks at the ids that a write has returned.
///
/// # Errors
/// Unless there is one for each new row of `a`, and they differ.
pub fn examine_written(ids: &[i64]) -> Result<(), Error> {
    let mut different = ids.to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() == NEW.len() && ids.len() == NEW.len() {
        return Ok(());
    }
    Err(Error::WrongRows(format!(
        "a write returned the ids {ids:?}"
    )))
}

/// Looks at the rows that a read has returned.
///
/// # Errors
/// When there are too many, or when one does not have exactly its own rows of `b`.
/// A transaction shows all of its rows or none, so a read that runs beside writes sees
/// only whole families.
pub fn examine_read(parents: &[Parent]) -> Result<(), Error> {
    if parents.len() > PAGE {
        let count = parents.len();
        return Err(Error::WrongRows(format!(
            "a read returned {count} rows of a"
        )));
    }
    for parent in parents {
        let mut children: Vec<&str> = parent.children.iter().map(String::as_str).collect();
        children.sort_unstable();
        let expected = NEW.iter().find(|(data, _)| *data == parent.data);
        if expected.is_none_or(|(_, expected)| *expected != children) {
            return Err(Error::WrongRows(format!("a read returned {parent:?}")));
        }
    }
    Ok(())
}
