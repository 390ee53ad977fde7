//! SQL that both databases understand. SQL that differs is in `sqlite/` and `postgres/`.

/// What an order line costs in cents. It is a macro because `concat!` accepts only literals, not
/// constants. The totals do not use it, since `query_scalar!` checks a literal at compile time.
macro_rules! line_total {
    () => {
        "item.price_cents * order_items.quantity"
    };
}
pub(super) use line_total;

/// The columns that [`Book`](crate::books::Book) has.
macro_rules! book_columns {
    () => {
        "id, book_name, author_id, price_cents, description, year_of_publication, genre, \
         language, pages"
    };
}

/// Binds the values of a book in the order of [`INSERT_BOOK`]. [`UPDATE_BOOK`] has the id
/// before them.
macro_rules! bind_book {
    ($statement:expr, $book:expr, $price:expr) => {
        $statement
            .bind(&$book.book_name)
            .bind($book.author_id)
            .bind($price)
            .bind(&$book.description)
            .bind($book.year_of_publication)
            .bind(&$book.genre)
            .bind(&$book.language)
            .bind($book.pages)
    };
}
pub(super) use bind_book;

/// Reads a row, or finds that there is none: the database can be read.
pub const PING: &str = "SELECT id FROM item LIMIT 1";

pub const AUTHORS: &str = "SELECT id, name FROM author WHERE id > $1 ORDER BY id LIMIT $2";
pub const AUTHOR: &str = "SELECT id, name FROM author WHERE id = $1";
pub const INSERT_AUTHOR: &str = "INSERT INTO author (name) VALUES ($1) RETURNING id, name";
pub const DELETE_AUTHOR: &str = "DELETE FROM author WHERE id = $1";

pub const BOOKS: &str = concat!(
    "SELECT ",
    book_columns!(),
    " FROM book WHERE id > $1 ORDER BY id LIMIT $2"
);
pub const BOOK: &str = concat!("SELECT ", book_columns!(), " FROM book WHERE id = $1");
/// Only PostgreSQL has locks for rows.
#[cfg(feature = "postgres")]
pub const BOOK_FOR_UPDATE: &str = concat!(
    "SELECT ",
    book_columns!(),
    " FROM book WHERE id = $1 FOR UPDATE"
);
pub const INSERT_BOOK: &str = concat!(
    "INSERT INTO book (book_name, author_id, price_cents, description,
                       year_of_publication, genre, language, pages)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     RETURNING ",
    book_columns!()
);
pub const UPDATE_BOOK: &str = concat!(
    "UPDATE book
     SET book_name = $2, author_id = $3, price_cents = $4, description = $5,
         year_of_publication = $6, genre = $7, language = $8, pages = $9
     WHERE id = $1
     RETURNING ",
    book_columns!()
);
pub const DELETE_BOOK: &str = "DELETE FROM book WHERE id = $1";
