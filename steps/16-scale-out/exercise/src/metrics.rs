//! What the service counts, for `GET /metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// What a request is counted under. Each combination of values is a series that the
/// service keeps for ever, so each value must come from a small set: a client can send
/// any path and any method.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Labels {
    pub method: &'static str,
    pub route: String,
    pub status: u16,
}

/// Everything that is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    durations: Histogram,
    /// Open connections of clients.
    pub connections: Gauge,
    /// Open connections of the pool, those that somebody uses and the others.
    pool: Gauge,
    registry: Arc<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates metrics that have counted nothing.
    pub fn new() -> Self {
        let requests = Family::default();
        let durations = Histogram::new(BUCKETS);
        let connections = Gauge::default();
        let pool = Gauge::default();
        let mut registry = Registry::default();
        registry.register("http_requests", "Requests by answer", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register(
            "http_connections",
            "Open connections of clients",
            connections.clone(),
        );
        registry.register(
            "db_connections",
            "Open connections of the pool to the database",
            pool.clone(),
        );
        Self {
            requests,
            durations,
            connections,
            pool,
            registry: Arc::new(registry),
        }
    }

    /// Counts a request. `route` is the path of its endpoint as the router has it,
    /// `/book/{id}`; `None` if the request has no endpoint.
    pub fn observe(&self, method: &Method, route: Option<&str>, status: u16, duration: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        let route = route.unwrap_or("none").to_owned();
        let labels = Labels {
            method,
            route,
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.durations.observe(duration.as_secs_f64());
    }

    /// Returns everything as text, in the format of `OpenMetrics` 1.0. `pool` is how many
    /// connections the pool has open.
    pub fn text(&self, pool: u32) -> String {
        self.pool.set(pool.into());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
