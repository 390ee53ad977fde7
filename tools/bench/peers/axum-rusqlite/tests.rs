use check::{Database, Failure, OrFail, Outcome, Service};

use super::*;

/// The sample market and the peer over it.
struct Sample {
    service: Service,
    database: Database,
}

impl Sample {
    async fn new() -> Result<Self, Failure> {
        Self::over(Database::sample().await?)
    }

    fn over(database: Database) -> Result<Self, Failure> {
        let market = Market::open(database.path()).or_fail("Market::open")?;
        let service = Service::start(app(market));
        Ok(Self { service, database })
    }
}

macro_rules! agreed {
    ($($name:ident($($argument:ident),*);)*) => {
        $(
            #[tokio::test]
            async fn $name() -> Outcome {
                let sample = Sample::new().await?;
                contract::$name($(&sample.$argument),*).await
            }
        )*
    };
}

agreed! {
    customers_nested(service, database);
    new_order_stored(service, database);
}

#[tokio::test]
async fn customers_are_whole_over_many_chunks() -> Outcome {
    let Sample { service, database } = Sample::new().await?;
    database.add_customers(5_000).await?;
    let customers = service.get("/api/customers").await?;
    assert!(customers.text().len() > 4 * CHUNK);
    let json = customers.json()?;
    let ids = json.as_array().map_or(&[][..], Vec::as_slice);
    let ids: Vec<_> = ids.iter().map(|customer| customer["id"].as_i64()).collect();
    let count: i64 = database.one("SELECT count(*) FROM customer").await?;
    assert_eq!(ids, (1..=count).map(Some).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn no_customers_are_an_empty_list() -> Outcome {
    let sample = Sample::over(Database::empty().await?)?;
    let reply = sample.service.get("/api/customers").await?;
    reply.expect_json(200, &json!([]))
}

#[tokio::test]
async fn statuses_are_those_of_the_service() -> Outcome {
    let sample = Sample::new().await?;
    for (path, status) in [
        ("orders/77", 404),
        ("orders/x", 400),
        ("order_total/77", 404),
        ("order_total/x", 400),
        ("orders/3", 200),
    ] {
        let reply = sample.service.get(&format!("/api/{path}")).await?;
        reply.expect_status(status)?;
    }
    let reply = sample.service.get("/api/order_total/1").await?;
    reply.expect_json(200, &json!({"Order Total": 30}))
}

#[tokio::test]
async fn orders_have_their_items() -> Outcome {
    let sample = Sample::new().await?;
    let item = |name, price, quantity| json!({ "name": name, "price": price, "quantity": quantity, "total": price * quantity });
    let order = json!({
        "order_id": 2,
        "customer": { "name": "Cam" },
        "order_time": "2024-03-20 11:00:00",
        "items": [item("Kit Kat", 1, 2), item("Onion", 2, 5)],
    });
    let reply = sample.service.get("/api/orders/3").await?;
    reply.expect_json(200, &json!([order]))
}

#[tokio::test]
async fn totals_are_in_the_order_asked() -> Outcome {
    let Sample {
        service,
        database: _open,
    } = Sample::new().await?;
    let reply = service.get("/api/orders_total?orders=3,2,77,1,2").await?;
    reply.expect_json(200, &json!([null, 12, null, 30, 12]))?;
    for query in ["", "?orders=", "?orders=1,x"] {
        let reply = service.get(&format!("/api/orders_total{query}")).await?;
        reply.expect_status(400)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_order_leaves_nothing() -> Outcome {
    let Sample { service, database } = Sample::new().await?;
    let before = database.snapshot().await?;
    for order in [
        json!({"customer_id": 77, "items": [{"id": 1, "quantity": 1}]}),
        json!({"customer_id": 1, "items": []}),
        json!({"customer_id": 1, "items": [{"id": 1, "quantity": 1}, {"id": 77, "quantity": 1}]}),
        json!({"customer_id": 1, "items": [{"id": 1, "quantity": 0}]}),
        json!({"customer_id": 1, "items": [{"id": 1, "quantity": 1}, {"id": 1, "quantity": 1}]}),
        json!({"customer_id": 1}),
    ] {
        let reply = service.post_json("/api/add_new_order", &order).await?;
        reply.expect_status(422)?;
        database.expect_unchanged(reply.asked(), &before).await?;
    }
    Ok(())
}

#[tokio::test]
async fn connections_are_durable() -> Outcome {
    let database = Database::sample().await?;
    let market = Market::open(database.path()).or_fail("Market::open")?;
    for pool in [market.readers, market.writer] {
        let settings = with_connection(pool, |connection| {
            let mut settings = Vec::new();
            for pragma in ["synchronous", "foreign_keys", "busy_timeout"] {
                settings
                    .push(connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))?);
            }
            Ok(settings)
        });
        // 2 is FULL.
        assert_eq!(settings.await.or_fail("pragmas")?, [2, 1, 5000]);
    }
    Ok(())
}
