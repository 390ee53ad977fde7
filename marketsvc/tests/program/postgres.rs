//! The programs over PostgreSQL: what they make of an empty database, and what they refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use check::{Database, Failure, OrFail, Outcome, equal, equal_json};
use futures::future::join_all;
use postgres_server::Server;
use serde_json::json;
use tempfile::TempDir;

use super::{add, end, refuse_url};
use crate::common::postgres::{
    execute, new_database, one, rows_of_postgres, rows_of_sqlite, server,
};
use crate::common::{Process, add_order};

#[tokio::test]
async fn an_empty_database_gets_the_sample_once() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    // They start together, and one of them fills it.
    let processes = join_all((0..4).map(|_| Process::quiet(&url))).await;
    let sample = Database::sample().await?;
    let sample = rows_of_sqlite(&sample.url()).await?;
    equal_json("the rows", &sample, &rows_of_postgres(&url).await?)?;
    let mut order = 3;
    for process in processes {
        let process = process?;
        order += 1;
        equal("a new order", order, add_order(&process.service).await?)?;
        end(process).await?;
    }
    let process = Process::quiet(&url).await?;
    let reply = process.service.get("/api/order_total/7").await?;
    reply.expect_json(200, &json!({"Order Total": 4}))?;
    equal("the next order", 8, add_order(&process.service).await?)
}

#[tokio::test]
async fn seeding_makes_the_rows_that_it_makes_in_sqlite() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    let sqlite = Database::empty().await?;
    for sql in ["data/sample.sql", "data/sample_books.sql"] {
        let path = format!("{}/../{sql}", env!("CARGO_MANIFEST_DIR"));
        let sql = fs::read_to_string(&path).or_fail(path)?;
        sqlite.execute(&sql).await?;
    }
    for arguments in [
        ["--customers", "900", "--orders", "700"],
        ["--customers", "9", "--orders", "7"],
    ] {
        add(&sqlite.url(), &arguments).await?;
        add(&url, &arguments).await?;
    }
    let expected = rows_of_sqlite(&sqlite.url()).await?;
    let got = rows_of_postgres(&url).await?;
    for table in ["address", "customer", "orders", "order_items"] {
        equal(format!("rows of {table}"), &expected[table], &got[table])?;
    }
    let process = Process::quiet(&url).await?;
    equal("the next order", 711, add_order(&process.service).await?)
}

#[tokio::test]
async fn a_database_that_is_not_its_own_is_refused_and_left_as_it_is() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    execute(&url, "CREATE TABLE note (text text)").await?;
    refuse_url(&url, &["another program"]).await?;
    let tables = "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'";
    equal("its tables", "note", &one(&url, tables).await?)?;

    let url = new_database(server).await?;
    end(Process::quiet(&url).await?).await?;
    let newer = "INSERT INTO _sqlx_migrations VALUES (9001, 'later', now(), true, '', 0)";
    execute(&url, newer).await?;
    let before = rows_of_postgres(&url).await?;
    refuse_url(&url, &["newer version"]).await?;
    equal_json("its rows", &before, &rows_of_postgres(&url).await?)
}

/// A server on which the user `guest` needs a password.
fn with_passwords() -> Result<Option<(Server, TempDir)>, Failure> {
    let folder = tempfile::tempdir().or_fail("a folder")?;
    // The server runs as another user if the test runs as root.
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), readable).or_fail("a folder")?;
    let rules = folder.path().join("pg_hba.conf");
    let lines = "local all market trust\nlocal all all scram-sha-256\n";
    fs::write(&rules, lines).or_fail("the rules")?;
    let server = Server::start(&[&format!("hba_file='{}'", rules.display())]);
    let server = server.or_fail("a private PostgreSQL server")?;
    Ok(server.map(|server| (server, folder)))
}

#[tokio::test]
async fn what_the_server_refuses_is_said_without_the_password() -> Outcome {
    let Some((server, _folder)) = with_passwords()? else {
        return Ok(());
    };
    let url = server.url("postgres");
    execute(&url, "CREATE ROLE guest LOGIN PASSWORD 'right'").await?;
    let guest = url.replacen("//market@", "//guest:secret@", 1);
    let shown = "DATABASE_URL=…@localhost/postgres: ";
    let words = [shown, "password authentication failed for user \"guest\""];
    refuse_url(&guest, &words).await?;
    let missing = url.replacen("/postgres?", "/nowhere?", 1);
    refuse_url(&missing, &["database \"nowhere\" does not exist"]).await?;
    let stranger = url.replacen("//market@", "//stranger:secret@", 1);
    refuse_url(&stranger, &["\"stranger\""]).await?;
    drop(server);
    refuse_url(&url, &["No such file"]).await
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() -> Outcome {
    // Nobody listens at this port.
    let url = "postgres://market:secret@127.0.0.1:1/market";
    let shown = "DATABASE_URL=…@127.0.0.1:1/market: ";
    refuse_url(url, &[shown, "refused"]).await?;
    let cluster = format!("{url},{url}");
    refuse_url(&cluster, &["primary"]).await?;
    refuse_url("postgres://market@127.0.0.1:many/market", &["port"]).await
}
