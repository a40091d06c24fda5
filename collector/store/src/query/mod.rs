//! The named questions. Each takes a [`TenantScope`] first, binds what the asker says as parameters, and runs within limits
//! of time, rows, bytes and memory.

mod alerts;
mod audit;
mod coverage;
mod events;
mod filter;
mod hosts;
mod scans;
mod status;
mod tree;

pub use alerts::{Alert, AlertFilter, AlertSummary, Alerts, AlertsSince, LevelCount};
pub use audit::AuditFilter;
pub use coverage::{Conflict, Coverage};
pub use events::{EventSearch, Found, Group};
pub use filter::{Filter, Op};
pub use hosts::{Hook, HostRow};
pub use scans::{LastSeen, ScanAnswer, ScanMatch, ScanTotals, ScanUnknown};
pub use status::{Figures, TableFigures};
pub use tree::{ProcessNode, ProcessTree};

use crate::database::Database;
use crate::error::StoreError;
use crate::options::Options;
use crate::sql::Sql;

/// Shortest prefix of an id that is looked up.
pub const MIN_PREFIX: usize = 6;
/// Candidates that an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 10;
/// Most rows of one answer.
pub const MAX_ROWS: u64 = 10_000;

/// The store, for those who ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

/// What an id or a prefix of one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Nothing that this scope may see.
    Nothing,
    /// This one.
    One(String),
    /// Several: some of them.
    Several(Vec<String>),
}

impl Store {
    /// A store that only asks, for an API without the store's role. Connects at the first question.
    ///
    /// # Errors
    /// [`StoreError::Options`] or [`StoreError::Password`].
    pub fn connect(options: &Options) -> Result<Self, StoreError> {
        options.validate()?;
        Ok(Self { database: Database::new(options)? })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Whether ClickHouse answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.database.ping().await
    }

    /// Looks up an id by its prefix: `sql` ends where the prefix goes and selects `id`.
    async fn resolve(&self, mut sql: Sql, prefix: &str) -> Result<Resolved, StoreError> {
        let fits = prefix.len() >= MIN_PREFIX && prefix.len() <= 64 && prefix.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Ok(Resolved::Nothing);
        }
        sql.text(&prefix.to_ascii_lowercase()).push(") ORDER BY id LIMIT ").uint(MAX_CANDIDATES as u64);
        let mut ids: Vec<String> =
            self.database.rows(sql).await?.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        Ok(match ids.len() {
            0 => Resolved::Nothing,
            1 => Resolved::One(ids.remove(0)),
            _ => Resolved::Several(ids),
        })
    }
}
