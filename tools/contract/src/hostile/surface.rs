//! What a service offers to a hostile client.

/// Where [`hostile_input`] attacks.
#[derive(Debug, Clone, Copy)]
pub struct Surface<'a> {
    /// Paths with `{}` for an id: `/api/order_total/{}`.
    pub ids: &'a [&'a str],
    /// Whether the service takes a well-formed id below 1 for one that is merely
    /// unknown. Otherwise it must be a 4xx like all the others.
    pub ids_below_one_are_unknown: bool,
    /// Paths with two `{}` for dates.
    pub dates: &'a [&'a str],
    /// Who takes a JSON body.
    pub bodies: &'a [JsonEndpoint<'a>],
    /// Paths whose answers are long, for clients that go away in the middle. Add
    /// so many rows to the database that an answer has 100 KB or more (2,000
    /// customers will do): a shorter one is in the socket's buffers before its
    /// client can go away.
    pub long_answers: &'a [&'a str],
    /// A path that a service in good health answers with 200.
    pub alive: &'a str,
}

/// An endpoint that takes a JSON body.
#[derive(Debug, Clone, Copy)]
pub struct JsonEndpoint<'a> {
    /// Its method: `POST`.
    pub method: &'a str,
    /// Its path, without anything to fill in.
    pub path: &'a str,
    /// A body that it accepts. Never sent whole and with the right content type.
    pub good: &'a str,
    /// Whether this body with another content type, or none, must be a 4xx.
    pub needs_content_type: bool,
}

pub(super) const ORDER: &str = r#"{"customer_id":2,"items":[{"id":2,"quantity":4}]}"#;

impl Surface<'static> {
    /// All endpoints as steps 02 to 09 have them.
    pub const STEPS: Self = Self {
        ids: &[
            "/api/orders/{}",
            "/api/order_total/{}",
            "/api/orders_total?orders={}",
            "/api/orders_total?orders=1,{}",
        ],
        ids_below_one_are_unknown: true,
        dates: &["/api/orders_between_dates/{}/{}"],
        bodies: &[
            JsonEndpoint {
                method: "POST",
                path: "/api/add_new_order",
                good: ORDER,
                needs_content_type: true,
            },
            JsonEndpoint {
                method: "GET",
                path: "/api/orders_total",
                good: r#"{"orders":[1,2,3]}"#,
                needs_content_type: false,
            },
        ],
        long_answers: &["/api/customers"],
        alive: "/api/order_total/1",
    };

    /// All endpoints as `marketsvc` has them.
    pub const MARKETSVC: Self = Self {
        ids_below_one_are_unknown: false,
        bodies: &[
            Self::STEPS.bodies[0],
            JsonEndpoint {
                needs_content_type: true,
                ..Self::STEPS.bodies[1]
            },
        ],
        ..Self::STEPS
    };
}
