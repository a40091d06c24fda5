//! The HTTP API: what analysts, the command line and the console may ask and do. They see nothing but this.
//!
//! What holds:
//! - Every call except the health endpoints carries a token; a token has a tenant scope, and every question takes it.
//! - Every authenticated call leaves an audit record on the bus before its answer goes out; no audit, no answer. Except
//!   for `/v1/status` and `/metrics`, which hold nothing of any host: they must answer when the bus is what is broken.
//! - Loopback by default; any other address only with TLS.
//! - Bodies, times, rows and connections are bounded.
//! - Errors say what to do next and nothing of the inside; another tenant's id answers like an unknown one.
//!
//! With the store away, health, enrolment tokens and revocations still work; questions answer 503.

#![forbid(unsafe_code)]

mod audit;
mod auth;
mod cursor;
mod error;
mod ids;
mod listen;
mod options;
mod params;
mod routes;
mod service;

pub use error::ApiError;
pub use options::{Options, TlsOptions};
pub use service::{Handle, Roles, Sources, start, start_with};
