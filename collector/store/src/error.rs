//! What can go wrong between the bus and ClickHouse, and what to do about it.

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A setting is wrong.
    #[error("store setting {key}: {why}")]
    Options {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The password file cannot be read.
    #[error("cannot read the ClickHouse password from {path}: {source}; check the path and its mode")]
    Password {
        /// Which file.
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// ClickHouse does not answer.
    #[error("ClickHouse does not answer at {url}: {why}; is it running, and is the URL right? Trying again")]
    Unreachable {
        /// Where.
        url: String,
        /// The client's words.
        why: String,
    },
    /// ClickHouse refused a statement.
    #[error("ClickHouse refused {what}: {why}")]
    Refused {
        /// Which statement, by its name.
        what: &'static str,
        /// ClickHouse's code.
        code: Option<u32>,
        /// ClickHouse's words, cut.
        why: String,
    },
    /// A query was stopped by a limit.
    #[error("the query was stopped by a limit of time, rows or memory; narrow it with since, until, host or more filters")]
    Limit,
    /// A filter cannot be asked.
    #[error("filter on {field}: {why}")]
    Filter {
        /// Which field, as given, cut.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// An answer has another form than its query promises.
    #[error("the answer to {what} cannot be read: {why}; does the database belong to another version?")]
    Answer {
        /// Which query.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The migrations of the database are not the ones of this version.
    #[error("migration {name} in database {database} is not the one that this version carries: {why}")]
    Migration {
        /// Which migration.
        name: String,
        /// In which database.
        database: String,
        /// What differs and what to do.
        why: String,
    },
    /// The bus failed.
    #[error("bus: {0}")]
    Bus(#[from] beffroi_bus::BusError),
    /// An intent that was recorded cannot be read.
    #[error("offset metadata of {topic} partition {partition} is not ours: {why}")]
    Intent {
        /// Topic.
        topic: &'static str,
        /// Partition.
        partition: i32,
        /// What is wrong.
        why: String,
    },
}

impl StoreError {
    /// Whether waiting may help: ClickHouse is away or overloaded, not unwilling.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Limit | Self::Bus(_) => true,
            // Too many parts, too many queries, read only for a while, no space, memory, keeper, network, shutting down.
            Self::Refused { code: Some(code), .. } => {
                matches!(code, 202 | 209 | 210 | 236 | 241 | 242 | 243 | 252 | 319 | 394 | 425 | 439 | 999)
            }
            _ => false,
        }
    }
}
