//! How values of the domain are read from columns. A value that is not what its
//! column is for can only have come there by another program's hand; it is an
//! error of the row, which sqlx reports with the name of the column.

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Sqlite, Type};

use crate::domain::{Money, UtcTime};

/// A whole number of cents.
impl Type<Sqlite> for Money {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(column: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(column)
    }
}

impl Decode<'_, Sqlite> for Money {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        <i64 as Decode<Sqlite>>::decode(value).map(Self::from_cents)
    }
}

/// `YYYY-MM-DD HH:MM:SS`.
impl Type<Sqlite> for UtcTime {
    fn type_info() -> SqliteTypeInfo {
        <str as Type<Sqlite>>::type_info()
    }

    fn compatible(column: &SqliteTypeInfo) -> bool {
        <str as Type<Sqlite>>::compatible(column)
    }
}

impl<'r> Decode<'r, Sqlite> for UtcTime {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<'r, Sqlite>>::decode(value)?;
        text.parse()
            .map_err(|cause| format!("{text:?} {cause}").into())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_value_that_is_none_of_its_column_is_named() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let time = sqlx::query_scalar::<_, UtcTime>("SELECT '2024-03-18 10:30:00' AS order_time")
            .fetch_one(&mut connection)
            .await;
        assert_eq!(time.unwrap().to_string(), "2024-03-18 10:30:00");
        let error = sqlx::query_scalar::<_, UtcTime>("SELECT 'soon' AS order_time")
            .fetch_one(&mut connection)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("\"soon\" must be a time"),
            "{error}"
        );
        let total = sqlx::query_scalar::<_, Option<Money>>("SELECT sum(1) WHERE 1 = 0")
            .fetch_one(&mut connection)
            .await;
        assert_eq!(total.unwrap(), None);
        // As text or as a float it would be no number of cents.
        let float = sqlx::query_scalar::<_, Money>("SELECT 10.5 AS price_cents")
            .fetch_one(&mut connection)
            .await;
        assert!(float.is_err(), "{float:?}");
    }
}
