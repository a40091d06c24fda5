//! The agent's processes: `sensor` records, signs and spools; `uplink` sends; `scan` judges files; a supervisor keeps
//! them running. Joined by the spool's logs and one socket, nothing else.
//!
//! The binary is thin; everything is here so that tests reach it.

pub mod cli;
pub mod clock;
pub mod config;
pub mod enroll;
pub mod enrolled;
pub mod gateway;
pub mod host;
pub mod identity;
pub mod layout;
pub mod local;
pub mod orders;
pub mod sensing;
pub mod spool;
pub mod status;
pub mod stop;
pub mod supervisor;
pub mod tls;
pub mod uplink;
pub mod users;
