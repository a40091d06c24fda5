//! What a file of events may cost, each limit with its reason. What is beyond it is reported with file and record, and
//! the rest is read.

/// One line or one JSON value. Script blocks and messages of the Windows event log reach some hundred kilobytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that one block aims at: enough to keep a thread busy for milliseconds, little enough to keep a queue of them.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Window of a zstd frame, as a power of two: what `zstd --long=27` writes, and 128 MiB of memory at most.
pub const MAX_WINDOW_LOG: u32 = 27;
/// A file may grow to this before its ratio is looked at.
pub const FREE_EXPANSION: u64 = 256 * 1024 * 1024;
/// Bytes that one compressed byte may become. Event logs reach 200; a bomb reaches 30,000.
pub const MAX_EXPANSION: u64 = 5_000;
/// Files of one run: a whole evidence share.
pub const MAX_FILES: usize = 1_000_000;
/// Folder depth.
pub const MAX_FOLDER_DEPTH: usize = 64;
/// Bytes at the beginning of a file that decide on its format.
pub const SNIFFED_BYTES: usize = 64 * 1024;
/// Objects inside of objects that are made flat; deeper ones are left out.
pub const MAX_FLAT_DEPTH: usize = 16;
/// Fields of one record: bounds what nested lists can make of one line.
pub const MAX_FLAT_FIELDS: usize = 4_096;
/// Audit events that are open at the same time: records of one event stand close together.
pub const MAX_OPEN_GROUPS: usize = 64;
/// Records of one audit event: a start with thousands of arguments has some dozens.
pub const MAX_GROUP_RECORDS: usize = 1_024;
/// Nested elements and templates of one record of an event log. Real ones have fewer than 20; the reader recurses.
pub const MAX_XML_DEPTH: usize = 64;
/// Elements, attributes and values of one record. Its 64 KiB can name a template thousands of times.
pub const MAX_XML_NODES: usize = 65_536;
/// Text of one record: a value of 60 KB can be put into thousands of places.
pub const MAX_XML_TEXT: usize = 8 * 1024 * 1024;
/// Troubles that one block reports one by one; more of them are only counted.
pub const MAX_TROUBLES: usize = 64;
