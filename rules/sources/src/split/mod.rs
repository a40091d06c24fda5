//! Cutting a stream of bytes into blocks of whole records, in order, with bounded memory.

pub(crate) mod events;
pub(crate) mod lines;
pub(crate) mod values;
