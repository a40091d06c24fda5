//! The limits of the contract, each with its reason. Both sides enforce them; the collector never trusts that the agent did.

/// Version of the batch contract that this code writes. The collector accepts [`OLDEST_SCHEMA`] to [`NEWEST_SCHEMA`].
pub const SCHEMA_VERSION: u32 = 1;
/// Oldest batch contract that is read.
pub const OLDEST_SCHEMA: u32 = 1;
/// Newest batch contract that is read: one ahead of ours, so that agents may be upgraded first (fields are only added).
pub const NEWEST_SCHEMA: u32 = SCHEMA_VERSION + 1;

/// Compressed body: a batch must fit into one Kafka record of 1 MiB with room for header and framing.
pub const MAX_BODY_BYTES: usize = 900 * 1024;
/// Body after decompression: bounds what one batch can make the collector allocate.
pub const MAX_RAW_BYTES: usize = 8 * 1024 * 1024;
/// Whole encoded batch on the wire.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024 - 16 * 1024;
/// Encoded header: tenant, ids and hashes need about 200 bytes.
pub const MAX_HEADER_BYTES: usize = 1024;
/// Records of one batch: one insert block and one detection turn stay short.
pub const MAX_RECORDS: usize = 65_536;
/// Fields of one event: the field table has fewer than 128 names, `extra` shares the rest.
pub const MAX_FIELDS: usize = 160;
/// Values of one whole batch: bounds decoded memory (32 bytes a value) to 64 MiB.
pub const MAX_VALUES: usize = 2 * 1024 * 1024;
/// Distinct lists of one batch: an event has its arguments and what is known of its ancestors.
pub const MAX_LISTS: usize = 8 * MAX_RECORDS;
/// Text of all events of one batch, counted as often as it is named: an honest batch of 8 MiB names its strings some
/// dozens of times, a hostile one names one large string in every event and would become terabytes as rows or evidence.
pub const MAX_EXPANDED_BYTES: usize = 256 * 1024 * 1024;
/// One string: a command line longer than this is cut on the host and marked `Truncated`.
pub const MAX_TEXT_BYTES: usize = 128 * 1024;
/// Strings of one list: argv beyond this is cut on the host and marked `Truncated`.
pub const MAX_LIST: usize = 4_096;
/// Ancestors copied into an event: deeper chains are cut at the far end.
pub const MAX_ANCESTORS: usize = 16;
/// Tenant names end up in topic keys and table rows: short, lower case, no separators.
pub const MAX_TENANT_BYTES: usize = 63;
/// Agent clock further than this from the gateway's sets `clock_suspect` (design section 3).
pub const MAX_CLOCK_SKEW_US: i64 = 5 * 60 * 1_000_000;
/// Width of the time bucket in which matches of one group are one alert.
pub const ALERT_BUCKET_US: i64 = 60 * 60 * 1_000_000;
/// Raw events copied into a match record; longer evidence is named by id.
pub const MAX_EVIDENCE_EVENTS: usize = 20;

/// Largest `Signed` that is read from a server: an order with a few thousand host names.
pub const MAX_SIGNED_BYTES: usize = 256 * 1024;
/// Signatures examined on one `Signed`: more would be work for free.
pub const MAX_SIGNATURES: usize = 8;
/// Certificates beside one signature: the operator's and, inside it, the root's.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// Tenants that one operator's certificate names; more is what `*` is for.
pub const MAX_CERTIFICATE_TENANTS: usize = 128;
/// Roles that one certificate names.
pub const MAX_CERTIFICATE_ROLES: usize = 16;
/// A name in a certificate, and a ticket or note in an order (bytes): they end up in events and on terminals.
pub const MAX_ORDER_TEXT_BYTES: usize = 1024;
/// Paths that one scan order names.
pub const MAX_ORDER_PATHS: usize = 64;
/// Longest path in an order: PATH_MAX of Linux.
pub const MAX_ORDER_PATH_BYTES: usize = 4096;
/// Largest rule text that an order may name: one Kafka record with room for its key and headers.
pub const MAX_BLOB_BYTES: usize = 900 * 1024;
/// Rule texts of one order.
pub const MAX_ORDER_BLOBS: usize = 64;
/// Longest life of an operator's certificate: 30 days (design section 4).
pub const MAX_OPERATOR_CERTIFICATE_US: i64 = 30 * 24 * 3600 * 1_000_000;
/// Longest life of an order: hunts last seven days, and `orders.v1` is kept at least as long.
pub const MAX_ORDER_LIFE_US: i64 = 7 * 24 * 3600 * 1_000_000;
/// Depth to which archives inside archives are walked (a jar in a war in an ear in a zip).
pub const MAX_ARCHIVE_DEPTH: u32 = 4;
