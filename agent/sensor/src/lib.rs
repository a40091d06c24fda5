//! The eyes of the agent: what processes, files and sockets do on a Linux host, as events of the schema.
//!
//! Kernel probes (`bpf/`) write records into two rings; this crate loads them, brings the records into order, resolves
//! them against a process table and masks secrets. It owns the probes and everything read from /proc. It blocks on
//! nothing but the rings, starts no process and changes nothing on the host.
//!
//! When a ring is full, the loss is counted in the kernel and declared as a gap. When probes cannot be used, the kernel's
//! process connector or a scan of /proc takes their place and says what it cannot see. A hook that this kernel refuses is
//! off, with the reason.
//!
//! Recorded events come in through [`replay`]. What each event means and what is not seen stands in this crate's README.

mod address;
mod arguments;
mod calls;
mod clock;
mod compose;
mod container;
mod error;
mod fallback;
mod hooks;
mod host;
mod kernel;
pub mod mask;
mod order;
mod process;
mod procfs;
mod raw;
pub mod replay;
mod sensor;
mod users;

pub use error::SensorError;
pub use host::{boot_id, host_info};
pub use sensor::{Sensor, SensorOptions, Source};
