//! The checks of books and authors, tried on the bookstore in memory: they accept the
//! right one and reject each fault.

use check::{Failure, Outcome, Service};
use contract::bookstore::{Fault, bookstore};

/// A bookstore with the sample authors and books.
async fn sample(fault: Option<Fault>) -> Result<Service, Failure> {
    let service = Service::start(bookstore(fault));
    for (path, rows) in [
        ("/author", contract::sample_authors()),
        ("/book", contract::sample_books()),
    ] {
        for row in rows {
            service.post_json(path, &row).await?.expect_status(201)?;
        }
    }
    Ok(service)
}

/// Each check has a store of its own, since it changes what is stored.
async fn all(fault: Option<Fault>) -> Outcome {
    macro_rules! each {
        ($($check:ident)*) => {
            $(contract::$check(&sample(fault).await?).await?;)*
        };
    }
    each!(
        author_by_id book_by_id new_authors author_refusals author_removed new_books
        book_refusals one_name_at_once book_replaced replace_refusals book_changed
        book_cleared change_refusals changes_at_once book_removed empty_store
    );
    contract::app_info(&sample(fault).await?, env!("CARGO_PKG_VERSION")).await?;
    for (path, rows) in [
        ("/author", contract::sample_authors()),
        ("/book", contract::sample_books()),
    ] {
        contract::pages(&sample(fault).await?, path, &rows).await?;
        contract::page_refusals(&sample(fault).await?, path).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_right_bookstore_is_accepted() -> Outcome {
    all(None).await
}

#[tokio::test]
async fn each_fault_is_rejected() {
    for fault in Fault::ALL {
        assert!(all(Some(fault)).await.is_err(), "{fault:?}");
    }
}
