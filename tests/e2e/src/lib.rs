//! The whole line for tests: the real binaries, the real engine and, where a test wants it, a real Apache Kafka.
//!
//! [`Collector`] starts `beffroi-collector` and asks it through `beffroi`; [`Host`] is an enrolled state folder and the
//! agent's processes on it; [`Story`] is what was sent and what must therefore be found, counted event by event.
//! Everything of a test lies in its [`Scratch`], listens on loopback and ends with the test, by process id.
//!
//! On failure an error says what was waited for and shows the end of the log of whoever ended. What this machine lacks
//! (the engine's library) makes a test say `SKIPPED` on stderr; a binary that was not built is an error.

#![forbid(unsafe_code)]

mod collector;
mod host;
mod place;
mod process;
mod story;

pub use collector::{Alert, Collector, Gap};
pub use host::{Host, spooled_command_lines};
pub use place::{Scratch, alone, binary, engine_or_skip, skip, tree};
pub use process::{Process, children, run, wait_for};
pub use story::{RULE, Story};
