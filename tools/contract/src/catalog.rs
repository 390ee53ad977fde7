//! An author together with a first book. The path is `/catalog`, where the two are stored
//! together or not at all, or `/catalog/separately`, where an author may stay alone.

use check::{Outcome, Service, ensure, equal_json};
use serde_json::{Value, json};

use crate::books::{with, without};
use crate::{
    NULLABLE, ask, bodies_400, expect_content_type, expect_field, expect_location, misread,
    new_book,
};

/// A body with a value in each field.
pub fn new_entry(author: &str, book: &str) -> Value {
    json!({"author": {"name": author}, "book": without(&new_book(book), "author_id")})
}

/// `POST {path}`: 201 with the author and the book, which is where `Location` says.
pub async fn catalog_stored(service: &Service, path: &str) -> Outcome {
    let few = json!({
        "author": {"name": "Zoë \"Z\" \\ O'Neil"},
        "book": {"book_name": "Only what is needed", "price": 0.29},
    });
    let nulls: Value = NULLABLE
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    for entry in [
        new_entry("Ada", "Notes"),
        few,
        new_entry("Bea", "Frankenstein II"),
    ] {
        let reply = service.post_json(path, &entry).await?;
        reply.expect_status(201)?;
        expect_content_type(&reply, "application/json")?;
        let both = reply.json()?;
        let (author_id, book_id) = (&both["author"]["id"], &both["book"]["id"]);
        ensure(
            author_id.is_i64() && book_id.is_i64(),
            reply.asked(),
            "an author and a book, each with an integer `id`",
            &both,
        )?;
        let author = with(&entry["author"], &json!({"id": author_id}));
        let book = with(
            &with(&nulls, &entry["book"]),
            &json!({"id": book_id, "author_id": author_id}),
        );
        let expected = json!({"author": author, "book": book});
        equal_json(reply.asked(), &expected, &both)?;

        let location = format!("/book/{book_id}");
        expect_location(&reply, &location)?;
        service.get(&location).await?.expect_json(200, &book)?;
        let reply = service.get(&format!("/author/{author_id}")).await?;
        reply.expect_json(200, &author)?;
    }
    Ok(())
}

/// `POST {path}` with an author that is refused, 409 or 422 with the field, and with a
/// body that is not an author with a book, 400. Nothing is stored after each.
pub async fn catalog_author_refused(service: &Service, path: &str) -> Outcome {
    let post = format!("POST {path}");
    for (author, status) in [("Jules Verne", 409), ("", 422), (&"x".repeat(201), 422)] {
        let entry = new_entry(author, "Notes").to_string();
        expect_field(&ask(service, &post, entry).await?, status, "name")?;
    }
    let good = new_entry("Ada", "Notes");
    let bodies = json!([
        {},
        [],
        without(&good, "book"),
        without(&good, "author"),
        with(&good, &json!({"author": {}})),
        with(&good, &json!({"book": {"price": 1}})),
        with(
            &good,
            &json!({"book": {"book_name": "Notes", "price": "1"}})
        ),
        with(&good, &json!({"author": {"name": 5}})),
    ]);
    bodies_400(service, &post, bodies).await?;
    let good = good.to_string();
    let twice = format!(r#"{},"author":{{"name":"Bea"}}}}"#, &good[..good.len() - 1]);
    misread(service, &post, &good, &[(twice, "`author`")]).await
}

/// The names of the authors in [`catalog_book_refused`].
pub const AUTHORS_OF_REFUSED_BOOKS: [&str; 4] = ["Ada", "Bea", "Cleo", "Dora"];

/// `POST {path}` with a book that is refused, 409 or 422 with the field, each by another
/// author, who would be stored.
pub async fn catalog_book_refused(service: &Service, path: &str) -> Outcome {
    let refused = [
        ("book_name", json!("Frankenstein"), 409),
        ("book_name", json!(" "), 422),
        ("price", json!(19.999), 422),
        ("pages", json!(0), 422),
    ];
    for (author, (field, value, status)) in AUTHORS_OF_REFUSED_BOOKS.into_iter().zip(refused) {
        let mut entry = new_entry(author, "Notes");
        entry["book"][field] = value;
        let reply = service.post_json(path, &entry).await?;
        expect_field(&reply, status, field)?;
    }
    Ok(())
}
