//! The HTTP API: what analysts, the command line and the console may ask and do. They see nothing but this.
//!
//! What holds:
//! - Every call except the health endpoints carries a token. A token has a scope (analyst, csirt, admin), tenants and an end;
//!   an operation sees a desk bound to those tenants and nothing else (`desk`).
//! - Every operation stands once in the table of routes (`routes`), and is asked in one way (`ask`), by whichever door.
//! - Every authenticated call leaves an audit record on the bus before its answer goes out; no audit, no answer. Except
//!   for `/v1/status` and `/metrics`, which hold nothing of any host: they must answer when the bus is what is broken.
//! - Loopback by default; any other address only with TLS.
//! - Bodies, times, rows and connections are bounded.
//! - Errors say what to do next and nothing of the inside; another tenant's id answers like an unknown one.
//!
//! With the store away, health, enrolment tokens and revocations still work; questions answer 503.

#![forbid(unsafe_code)]

mod ask;
mod audit;
mod auth;
mod console;
mod cursor;
mod desk;
mod door;
mod error;
mod listen;
mod openapi;
mod options;
mod params;
mod rate;
mod routes;
mod service;

pub use error::ApiError;
pub use listen::Certificate;
pub use options::{Options, TlsOptions};
pub use rate::RateOptions;
pub use service::{Handle, Metrics, Roles, Sources, start, start_with};
