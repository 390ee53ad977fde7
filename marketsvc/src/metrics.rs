//! What the service counts about itself, for `GET /metrics`.
//!
//! A label has one of a few values known beforehand, whatever clients send:
//! the route instead of the path, and one name for all paths without a route.

use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::db::Db;

/// Upper bounds of the classes of latencies, in seconds.
const LATENCIES: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// A route, and how long it takes.
#[derive(Debug)]
pub struct Route {
    /// As it stands in the router.
    pub name: &'static str,
    latencies: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: &'static str,
}

/// The state of a pool of database connections.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    pub name: &'static str,
    /// Open connections.
    pub size: u32,
    /// Those of them that somebody has.
    pub in_use: u32,
}

/// What happens to clients' connections. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// Those that have a place now.
    pub open: Gauge,
    /// Those that were told 503, since every place was taken.
    pub refused: Counter,
    /// Those that were closed in favour of another.
    pub evicted: Counter,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    latencies: Family<OfRoute, Histogram>,
    answers: Family<Answer, Counter>,
    shed: Counter,
    in_flight: Gauge,
    queue: Gauge,
    totals_queue: Gauge,
    pub connections: Connections,
    pool_size: Family<OfPool, Gauge>,
    pool_in_use: Family<OfPool, Gauge>,
}

/// Name, description and metric, of which the registry gets a clone.
macro_rules! register {
    ($registry:ident: $($name:literal, $help:literal => $metric:expr;)*) => {
        $($registry.register($name, $help, $metric.clone());)*
    };
}

impl Metrics {
    /// Nothing is counted yet, besides what `db` counts itself.
    pub fn new(db: &Db) -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            answers: Family::default(),
            shed: Counter::default(),
            in_flight: Gauge::default(),
            queue: Gauge::default(),
            totals_queue: Gauge::default(),
            connections: Connections::default(),
            pool_size: Family::default(),
            pool_in_use: Family::default(),
            registry: Registry::default(),
        };
        registry.register_with_unit(
            "http_request_duration",
            "From a request's head to its answer's, without those that were turned away",
            Unit::Seconds,
            metrics.latencies.clone(),
        );
        register! { registry:
            "http_requests", "Requests that were answered" => metrics.answers;
            "http_requests_shed", "Requests that were turned away since too many were in flight" => metrics.shed;
            "http_requests_in_flight", "Reading requests that are worked on" => metrics.in_flight;
            "orders_queued", "New orders that wait to be stored" => metrics.queue;
            "orders_per_commit", "New orders that were stored, or refused, together" => db.batch_sizes();
            "totals_queued", "Totals of orders that wait to be read" => metrics.totals_queue;
            "totals_per_statement", "Totals of orders that were read together" => db.totals_per_statement();
            "http_connections", "Open connections of clients" => metrics.connections.open;
            "http_connections_refused", "Connections that were told 503, since all places were taken" => metrics.connections.refused;
            "http_connections_evicted", "Connections that were closed in favour of another" => metrics.connections.evicted;
            "db_pool_connections", "Open database connections" => metrics.pool_size;
            "db_pool_connections_in_use", "Database connections that are in use" => metrics.pool_in_use;
        }
        let start = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        registry.register_with_unit(
            "process_start_time",
            "When the service started, since 1970",
            Unit::Seconds,
            ConstGauge::new(start.as_secs_f64()),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// A route of this name.
    pub fn route(&self, name: &'static str) -> Route {
        let latencies = self.latencies.get_or_create_owned(&OfRoute { route: name });
        Route { name, latencies }
    }

    /// A request was answered after `elapsed`.
    pub fn answered(&self, method: &Method, route: &Route, status: StatusCode, elapsed: Duration) {
        self.count(method, route, status);
        route.latencies.observe(elapsed.as_secs_f64());
    }

    /// A request was not admitted, and answered with 503.
    pub fn turned_away(&self, method: &Method, route: &Route) {
        self.count(method, route, StatusCode::SERVICE_UNAVAILABLE);
        self.shed.inc();
    }

    fn count(&self, method: &Method, route: &Route, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            // Any word can be one.
            _ => "other",
        };
        self.answers
            .get_or_create(&Answer {
                method,
                route: route.name,
                status: status.as_u16(),
            })
            .inc();
    }

    /// Everything in Prometheus' text format (that of `OpenMetrics` 1.0), with
    /// what is known of this moment.
    pub fn text(&self, in_flight: usize, db: &Db) -> String {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.in_flight.set(gauge(in_flight));
        self.queue.set(gauge(db.queue_len()));
        self.totals_queue.set(gauge(db.totals_queue_len()));
        for pool in db.pools() {
            let name = OfPool { pool: pool.name };
            self.pool_size.get_or_create(&name).set(pool.size.into());
            self.pool_in_use
                .get_or_create(&name)
                .set(pool.in_use.into());
        }
        let mut text = String::new();
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok(), "writing to memory succeeds");
        text
    }
}
