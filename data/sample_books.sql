-- Authors and books to begin with. Only a database that has just been created gets
-- them.
INSERT INTO author (id, name) VALUES
    (1, 'Jane Austen'),
    (2, 'Jules Verne'),
    (3, 'Mary Shelley');

INSERT INTO book (id, book_name, author_id, price_cents, description,
                  year_of_publication, genre, language, pages) VALUES
    (1, 'Pride and Prejudice', 1, 950, 'Elizabeth Bennet and Mr Darcy',
     1813, 'novel', 'English', 432),
    (2, 'Around the World in Eighty Days', 2, 1200, NULL,
     1872, 'adventure', 'French', 320),
    (3, 'Frankenstein', 3, 825, 'A scientist and what he made',
     1818, 'gothic novel', 'English', NULL);
