//! Step 12: a load that shows what async is for.
//!
//! Begin with [`load`], the program that plays the clients, and with
//! [`books::SlowQueries`], the endpoint that they wait for. [`app`] puts the modules of
//! the service together; [`customers`] is the smallest of them, [`orders`] the largest,
//! and [`catalog`] uses the services of [`authors`] and [`books`]; [`docs`] makes the
//! document of the API. In each module, `mod.rs` names the endpoints, and
//! `controller.rs` answers HTTP. A module also has those of the following files that it
//! needs: `service.rs` talks to the database, `model.rs` has the types that clients send,
//! and `entity.rs` the types that rows become. The code that all modules use stays beside
//! them: [`session`] is the transaction of a request, [`calls`] logs the calls of
//! services, [`db`] runs SQL, [`types`] has the values that occur everywhere, [`page`]
//! and [`body`] are for lists, [`tasks`] runs many tasks at once, and [`error`] says what
//! clients are told.

pub mod app;
pub mod authors;
pub mod body;
pub mod books;
pub mod calls;
pub mod catalog;
pub mod customers;
pub mod db;
pub mod docs;
pub mod error;
pub mod load;
pub mod orders;
pub mod page;
pub mod session;
pub mod tasks;
pub mod types;
