//! The agents' door: sessions over mTLS, batches onto the bus, what goes down handed out; and, as a role of its own that
//! holds the CA key, enrolment and renewal. Both roles share one TLS port or run in different processes.
//!
//! What holds: tenant and agent id come from the verified certificate only; a batch is forwarded byte for byte and
//! acknowledged after the bus has it; memory, connections and time of every peer are bounded; a revoked host is cut off
//! within seconds. When the bus is away, agents get 503 and keep their batches; nothing that was acknowledged is lost.
//!
//! ```no_run
//! # async fn example(bus: beffroi_bus::Bus) -> Result<(), Box<dyn std::error::Error>> {
//! use beffroi_gateway::{Options, Roles};
//! use tokio_util::sync::CancellationToken;
//!
//! let shutdown = CancellationToken::new();
//! let control = beffroi_bus::control::Control::start(bus.clone(), shutdown.clone()).await?;
//! let options = Options { pki: "/var/lib/beffroi/pki".into(), ..Default::default() };
//! let gateway = beffroi_gateway::start(options, Roles::ALL, bus, control, shutdown.clone()).await?;
//! println!("agents connect to {}, CA {}", gateway.address(), gateway.ca_fingerprint());
//! shutdown.cancel();
//! gateway.join().await;
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod blobs;
mod body;
mod clock;
mod directory;
mod enroll;
mod hello;
mod identity;
mod inflight;
mod ingest;
mod options;
mod orders;
pub mod pki;
mod quota;
mod refuse;
mod renew;
mod serve;
mod service;
mod sessions;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use identity::{Identity, IdentityError};
pub use options::{LimitOptions, OptionError, Options, ProvidedCertificate, QuotaOptions, Roles};
pub use service::{Handle, StartError, start};
