-- The market also sells books. Columns and units: ../README.md.

-- AUTOINCREMENT: the id of a row that was removed is never given to another, so an
-- old link to a book cannot lead to a new one.
CREATE TABLE author (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE book (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    book_name           TEXT    NOT NULL UNIQUE,
    author_id           INTEGER NOT NULL REFERENCES author (id),
    price_cents         INTEGER NOT NULL CHECK (price_cents >= 0),
    description         TEXT,
    year_of_publication INTEGER,
    genre               TEXT,
    language            TEXT,
    pages               INTEGER CHECK (pages >= 1)
) STRICT;

-- SQLite looks here when an author is removed: may a book still refer to the author?
CREATE INDEX book_by_author ON book (author_id);
