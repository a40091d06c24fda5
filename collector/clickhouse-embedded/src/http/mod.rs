//! ClickHouse's HTTP interface over the embedded engine.
//!
//! `service` takes a request from authentication to the engine and back, `call` reads what a request asks for,
//! `reply` writes answers and errors in ClickHouse's form, `multipart`, `auth` and `prompt` (the listener) are the small corners.

pub(crate) mod auth;
mod call;
mod multipart;
pub(crate) mod prompt;
mod reply;
pub(crate) mod service;
