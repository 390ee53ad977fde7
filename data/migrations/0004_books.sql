-- The market also sells books. Columns and units: ../README.md.

CREATE TABLE author (
    id   INTEGER PRIMARY KEY,
    name TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE book (
    id                  INTEGER PRIMARY KEY,
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
