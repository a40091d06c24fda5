//! Reads files of events for offline evaluation: Windows event logs, their JSON forms, audit logs, log lines, our own
//! events, packed with zstd or not. One thread reads and cuts ([`blocks`]), many understand ([`Block::records`]).
//!
//! ```
//! use std::ops::ControlFlow;
//! use beffroi_sources::{Opened, Options, Record, blocks};
//!
//! let text = "{\"EventID\": 1, \"Channel\": \"Security\"}\nrubbish\n";
//! let opened = Opened::from_reader(Box::new(text.as_bytes()), &Default::default())?;
//! let (mut records, mut troubles) = (Vec::new(), Vec::new());
//! blocks(opened, None, &mut |block| {
//!     let found = block.records(&Options::default(), |record: Record| records.push(record));
//!     troubles.extend(found.first);
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!((records.len(), troubles[0].record), (1, Some(2)));
//! # Ok::<(), beffroi_sources::Trouble>(())
//! ```
//!
//! Everything here is hostile until shown otherwise: sizes are bounded before memory is taken, whatever is broken is a
//! [`Trouble`] with its place, and the rest is read. Nothing here judges.

#![forbid(unsafe_code)]

mod audit;
mod block;
mod evtx;
mod flat;
mod format;
mod input;
mod json;
pub mod limits;
mod log_line;
mod members;
mod own;
mod parse;
mod plain;
mod read;
mod record;
mod split;
mod syscalls;
mod tree;
mod trouble;

pub use block::Block;
pub use flat::Flat;
pub use format::Format;
pub use input::{Input, Inputs, Opened, find};
pub use own::{OwnEvent, StoredBatch};
pub use parse::{Options, Taker};
pub use read::blocks;
pub use record::{Body, Part, Record, View};
pub use trouble::{Code, Trouble, Troubles};
