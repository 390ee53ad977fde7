//! What a PATCH changes.

use serde::{Deserialize, Deserializer};

/// Reads a field that is there. serde calls this only then; for a missing field
/// `#[serde(default)]` takes `None`. Without this function serde would read `null` as a
/// missing value, too.
///
/// # Errors
/// The error of the deserializer, if the value is not a `T`.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
