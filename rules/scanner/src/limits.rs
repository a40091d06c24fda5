//! What rule files and scans may cost, each limit with its reason.

use std::time::Duration;

/// One rule file: the largest public one has about 2 MB.
pub const MAX_RULE_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Rule files of one pack.
pub const MAX_RULE_FILES: usize = 20_000;
/// Folder depth while looking for rule files.
pub const MAX_DEPTH: usize = 32;
/// Nested parentheses of one rule file: the compiler recurses once for each.
pub const MAX_NESTING: usize = 512;
/// A serialised pack: public rules together need about 100 MB.
pub const MAX_PACK_BYTES: usize = 512 * 1024 * 1024;
/// Proof file of one rule.
pub const MAX_PROOF_BYTES: u64 = 1024 * 1024;

/// Content of one scan unless the caller says otherwise: nearly all executables are smaller, and memory stays bounded.
pub const DEFAULT_SCAN_BYTES: usize = 64 * 1024 * 1024;
/// Time of one scan unless the caller says otherwise. The engine checks it about once a second.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Matches that are kept of one string of one rule unless the caller says otherwise.
pub const DEFAULT_MATCHES: usize = 100;
/// Strings that are reported of one rule: more tells an analyst nothing new.
pub const MAX_REPORTED_STRINGS: usize = 64;
/// Rules that are reported of one scan.
pub const MAX_REPORTED_RULES: usize = 256;
