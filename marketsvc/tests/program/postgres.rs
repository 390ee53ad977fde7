//! The programs over PostgreSQL: what they make of an empty database, what they refuse, and
//! what they do with locks, with lost connections, and while there is no primary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, Service, ensure, equal, equal_json};
use futures::future::join_all;
use marketsvc::app;
use marketsvc::db::{self, Settings};
use marketsvc::error::Error;
use postgres_server::{Cluster, Server};
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{add, end, refuse_url};
use crate::common::postgres::{
    connect, execute, new_database, one, rows_of_postgres, rows_of_sqlite, server,
};
use crate::common::{HANG, Process, add_order, expect_come_again, soon, try_order};

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
    refuse_url(&format!("{guest},{guest}"), &words).await?;
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
    refuse_url(&cluster, &[shown, "refused"]).await?;
    refuse_url("postgres://market@127.0.0.1:many/market", &["port"]).await
}

/// A service in this process, over this database.
async fn serve(url: &str, settings: Settings) -> Result<Service, Failure> {
    let db = db::open(url, settings).await.or_fail(url)?;
    Ok(Service::start(app::app(db)))
}

/// Waits until the database at `url` answers `sql` with this text.
async fn until(url: &str, sql: &str, text: &str) -> Outcome {
    soon(sql, async {
        while one(url, sql).await? != text {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lock_of_another_program_is_503_until_it_is_let_go() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    let settings = Settings {
        busy_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let service = serve(&url, settings).await?;
    let before = rows_of_postgres(&url).await?;
    let mut other = connect(&url).await?;
    let mut lock = other.begin().await.or_fail("BEGIN")?;
    // A new order refers to its customer, who must not change meanwhile.
    let sql = "SELECT FROM customer WHERE id = 2 FOR UPDATE";
    sqlx::query(sql).execute(&mut *lock).await.or_fail(sql)?;
    for _ in 0..2 {
        expect_come_again(&try_order(&service).await?)?;
    }
    // What the service has given up does not wait on at the server.
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&url, waiting, "0").await?;
    equal_json("the rows", &before, &rows_of_postgres(&url).await?)?;
    lock.rollback().await.or_fail("ROLLBACK")?;
    add_order(&service).await.map(drop)
}

#[tokio::test]
async fn its_connections_bring_their_settings_along() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    let service = serve(&url, Settings::default()).await?;
    add_order(&service).await?;
    // New connections get these, unless they ask for something else.
    let weak = "DO $$ BEGIN
                    EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
                END $$;
                CREATE TABLE note (text text);
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    INSERT INTO note SELECT string_agg(current_setting(name), ' ' ORDER BY n)
                    FROM unnest(ARRAY['synchronous_commit', 'lock_timeout',
                        'idle_in_transaction_session_timeout']) WITH ORDINALITY AS it (name, n);
                    RETURN new;
                END $$;
                CREATE TRIGGER note BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note()";
    execute(&url, weak).await?;
    let chosen = format!("{url}&options[synchronous_commit]=remote_apply");
    for (url, expected) in [(&url, "on"), (&chosen, "remote_apply")] {
        execute(url, "DELETE FROM note").await?;
        add_order(&serve(url, Settings::default()).await?).await?;
        let expected = format!("{expected} 4500ms 5s");
        let notes = "SELECT string_agg(text, ',') FROM note";
        equal("the settings", expected, one(url, notes).await?)?;
    }
    Ok(())
}

#[tokio::test]
async fn connections_that_the_server_has_closed_cost_no_request() -> Outcome {
    let Some(server) = server() else {
        return Ok(());
    };
    let url = new_database(server).await?;
    let service = serve(&url, Settings::default()).await?;
    for reply in join_all((0..4).map(|_| service.get("/book/1"))).await {
        reply?.expect_status(200)?;
    }
    let of = "FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'marketsvc'";
    // A connection that was used a moment ago is used without a ping.
    let idle = format!("SELECT (max(state_change) < now() - interval '1.5 s')::text {of}");
    until(&url, &idle, "true").await?;
    let end = format!("SELECT count(pg_terminate_backend(pid))::text {of}");
    let ended: u32 = one(&url, &end).await?.parse().or_fail("a number")?;
    ensure(ended > 1, "connections of the pool", "several", ended)?;
    until(&url, &format!("SELECT count(*)::text {of}"), "0").await?;
    for _ in 0..ended {
        service.get("/book/1").await?.expect_status(200)?;
    }
    add_order(&service).await.map(drop)
}

/// Why a program that doesn't wait cannot start with these servers.
async fn refusal(urls: &[String]) -> Option<Error> {
    let settings = Settings {
        acquire_timeout: Duration::ZERO,
        ..Settings::default()
    };
    loop {
        match db::open(&urls.join(","), settings).await.err() {
            // The machine is busy.
            Some(Error::NoAnswer) => {}
            error => return error,
        }
    }
}

#[tokio::test]
async fn a_start_during_a_failover_waits_for_the_new_primary() -> Outcome {
    if server().is_none() {
        return Ok(());
    }
    let cluster = spawn_blocking(Cluster::start).await.or_fail("a thread")?;
    let mut cluster = cluster.or_fail("a cluster")?.or_fail("a cluster")?;
    cluster.kill_primary().or_fail("the kill")?;
    let urls = cluster.urls();
    let standbys = refusal(&urls[1..]).await;
    let is_right = matches!(standbys, Some(Error::Unusable(_)));
    let got = format!("{standbys:?}");
    ensure(is_right, "two standbys", "none is the primary", got)?;
    let all = refusal(&urls).await;
    let is_right = matches!(all, Some(Error::Database(_)));
    let got = format!("{all:?}");
    ensure(is_right, "with a dead server", "that it is dead", got)?;

    let patient = Settings {
        acquire_timeout: HANG,
        ..Settings::default()
    };
    let urls = urls.join(",");
    let promote = spawn_blocking(move || cluster.promote().map(|()| cluster));
    let (service, promoted) = tokio::join!(serve(&urls, patient), promote);
    let _cluster = promoted.or_fail("a thread")?.or_fail("the promotion")?;
    add_order(&service?).await.map(drop)
}
