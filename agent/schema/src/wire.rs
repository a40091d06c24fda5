//! Names that both sides of a hop must agree on: HTTP paths and headers between agent and gateway, record headers on
//! the bus, topic names (before the configured prefix), consumer groups.

/// `POST`: one batch, mTLS. 202 once the bus has it.
pub const PATH_BATCHES: &str = "/v1/batches";
/// `POST`: a [`crate::session::EnrollRequest`], no client certificate.
pub const PATH_ENROLL: &str = "/v1/enroll";
/// `POST`: a [`crate::session::RenewRequest`], signed with the identity key, with or without a client certificate.
pub const PATH_RENEW: &str = "/v1/renew";
/// `POST`: a [`crate::session::Hello`], mTLS.
pub const PATH_HELLO: &str = "/v1/hello";
/// `GET`: long poll for what goes down, mTLS; `?after=CURSOR&wait=SECONDS`, the cursor as the last answer gave it (opaque).
pub const PATH_ORDERS: &str = "/v1/orders";
/// `GET`: a rule text that an order names, mTLS; `/v1/blobs/{sha256 in hex}`. The reader checks the hash.
pub const PATH_BLOBS: &str = "/v1/blobs";
/// Content type of a batch.
pub const CONTENT_TYPE_BATCH: &str = "application/vnd.beffroi.batch.v1";
/// Content type of a rule text on `orders.v1`.
pub const CONTENT_TYPE_BLOB: &str = "application/vnd.beffroi.blob.v1";

/// Batches, verbatim. Key: agent id in hex.
pub const TOPIC_EVENTS: &str = "events.v1";
/// Matches as JSON ([`crate::alert::Match`]). Key: match id in hex.
pub const TOPIC_ALERTS: &str = "alerts.v1";
/// Events that correlations refer to, as JSON, and the state of correlations over them. Key: tenant, so that one detector
/// sees all of a tenant's.
pub const TOPIC_DETECTIONS: &str = "detections.v1";
/// What could not be processed, as JSON ([`crate::alert::DeadLetter`]). Key: the original key.
pub const TOPIC_DLQ: &str = "dlq.v1";
/// `Signed` envelopes, encoded (key: order id in hex), and the rule texts they name (key: SHA-256 in hex, header
/// [`HEADER_CONTENT_TYPE`] = [`CONTENT_TYPE_BLOB`]). A rule text always stands before the order that names it, so whoever
/// hands out the order has it.
pub const TOPIC_ORDERS: &str = "orders.v1";
/// State that needs one winner, as JSON ([`crate::control::ControlRecord`]). One partition.
pub const TOPIC_CONTROL: &str = "control.v1";
/// Who did what, as JSON. One partition.
pub const TOPIC_AUDIT: &str = "audit.v1";

/// Consumer group of the detector.
pub const GROUP_DETECT: &str = "detect";
/// Consumer group of the detector's correlations.
pub const GROUP_CORRELATE: &str = "correlate";
/// Consumer group of the store.
pub const GROUP_STORE: &str = "store";

/// Record header: microseconds since 1970 in decimal, stamped once by the gateway.
pub const HEADER_RECEIVED_AT: &str = "beffroi-received-at";
/// Record header on `detections.v1`: the record is a piece of state, `id/index/pieces`, and not a detection.
pub const HEADER_STATE: &str = "beffroi-state";
/// Record header: tenant of the client certificate.
pub const HEADER_TENANT: &str = "beffroi-tenant";
/// Record header: peer address that the gateway saw.
pub const HEADER_REMOTE: &str = "beffroi-remote";
/// Record header: name of the gateway.
pub const HEADER_GATEWAY: &str = "beffroi-gateway";
/// Record header: content type of the value.
pub const HEADER_CONTENT_TYPE: &str = "content-type";
