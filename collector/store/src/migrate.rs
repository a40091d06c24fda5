//! Migrations: numbered `.sql` files in this program, applied in order, each block one statement, each file recorded with
//! its checksum. Files are frozen once released; a database whose record differs is refused, because nobody can say what
//! its tables look like.
//!
//! Statements are idempotent (`IF NOT EXISTS`), so a migration that was cut off is simply run again.

use sha2::{Digest, Sha256};

use crate::database::Database;
use crate::error::StoreError;
use crate::options::Options;
use crate::sql::Sql;

/// Every migration, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "0001_events", text: include_str!("../migrations/0001_events.sql") },
    Migration { number: 2, name: "0002_coverage", text: include_str!("../migrations/0002_coverage.sql") },
    Migration { number: 3, name: "0003_alerts", text: include_str!("../migrations/0003_alerts.sql") },
    Migration { number: 4, name: "0004_operations", text: include_str!("../migrations/0004_operations.sql") },
    Migration { number: 5, name: "0005_audit", text: include_str!("../migrations/0005_audit.sql") },
];

/// Tables whose life can be changed by a setting: name, column, and whether it is the events' life.
const LIVES: &[(&str, &str, bool)] = &[
    ("events", "received_at", true),
    ("ledger", "received_at", true),
    ("heads", "received_at", true),
    ("heartbeats", "received_at", true),
    ("dead_letters", "ts", true),
    ("gaps", "received_at", false),
    ("matches", "received_at", false),
    ("audit", "ts", false),
];

/// One file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// One statement of a file.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    optional: bool,
    statement: String,
}

impl Migration {
    pub(crate) fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.text))
    }

    fn blocks(&self, options: &Options) -> Vec<Block> {
        let block = |part: &str| {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let lines = body.lines().filter(|line| !line.trim_start().starts_with("--"));
            let statement = lines.collect::<Vec<_>>().join("\n");
            Block {
                optional: head.trim().starts_with("optional "),
                statement: fill(statement.trim().trim_end_matches(';'), options),
            }
        };
        self.text.split("--@ block ").skip(1).map(block).collect()
    }
}

/// Puts the settings into a statement: engine and lives, nothing else.
fn fill(statement: &str, options: &Options) -> String {
    let (engine, window) = match options.replicated {
        false => ("ReplacingMergeTree", "non_replicated_deduplication_window = 10000"),
        true => ("ReplicatedReplacingMergeTree", "replicated_deduplication_window = 10000"),
    };
    statement
        .replace("{{replacing}}", engine)
        .replace("{{deduplication_window}}", window)
        .replace("{{event_days}}", &options.event_days.to_string())
        .replace("{{alert_days}}", &options.alert_days.to_string())
}

#[derive(serde::Deserialize)]
struct Applied {
    number: u64,
    name: String,
    checksum: String,
}

/// Brings the database to this version.
///
/// # Errors
/// [`StoreError::Migration`] when the database was made by other files; what ClickHouse says otherwise.
pub(crate) async fn migrate(database: &Database, options: &Options) -> Result<(), StoreError> {
    database.create().await?;
    let table = fill(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number UInt64, name String, checksum String, \
         applied_at DateTime64(6, 'UTC')) ENGINE = {{replacing}} ORDER BY number",
        options,
    );
    database.execute("schema_migrations", &table).await?;
    let applied = applied(database).await?;
    check(database, &applied)?;
    for migration in MIGRATIONS.iter().filter(|migration| applied.iter().all(|done| done.number != migration.number)) {
        apply(database, options, migration).await?;
    }
    set_lives(database, options).await
}

async fn applied(database: &Database) -> Result<Vec<Applied>, StoreError> {
    let sql = Sql::operational("migrations", "SELECT number, name, checksum FROM schema_migrations FINAL ORDER BY number");
    database.all(sql).await
}

fn check(database: &Database, applied: &[Applied]) -> Result<(), StoreError> {
    for done in applied {
        let refused = |why: String| StoreError::Migration { name: done.name.clone(), database: database.name.clone(), why };
        match MIGRATIONS.iter().find(|migration| migration.number == done.number) {
            None => {
                return Err(refused("it comes from a newer version; upgrade this collector".into()));
            }
            Some(known) if known.checksum() != done.checksum => {
                let why = format!(
                    "the database was made with checksum {}, this version carries {}; install the version that made it, \
                     or use another database",
                    &done.checksum.chars().take(12).collect::<String>(),
                    &known.checksum()[..12]
                );
                return Err(refused(why));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn apply(database: &Database, options: &Options, migration: &Migration) -> Result<(), StoreError> {
    for block in migration.blocks(options) {
        match database.execute(migration.name, &block.statement).await {
            Err(StoreError::Refused { code, why, .. }) if block.optional => {
                tracing::warn!(migration = migration.name, code, why, "this ClickHouse goes without an optional index");
            }
            other => other?,
        }
    }
    let record = format!(
        "INSERT INTO schema_migrations SELECT {}, '{}', '{}', now64(6)",
        migration.number,
        migration.name,
        migration.checksum()
    );
    database.execute("record of a migration", &record).await?;
    tracing::info!(migration = migration.name, database = database.name, "migration applied");
    Ok(())
}

/// Makes the tables' lives what the settings say now.
async fn set_lives(database: &Database, options: &Options) -> Result<(), StoreError> {
    let sql = Sql::operational(
        "lives",
        "SELECT name, create_table_query AS text FROM system.tables WHERE database = {database:String}",
    );
    let tables = database.rows(sql.set("database", crate::sql::Param::Text(database.name.clone()))).await?;
    for (table, column, is_event) in LIVES {
        let days = if *is_event { options.event_days } else { options.alert_days };
        let text = tables.iter().find(|row| row["name"] == *table).and_then(|row| row["text"].as_str()).unwrap_or_default();
        if !text.contains(&format!("TTL toDateTime({column}) + toIntervalDay({days})")) {
            let change = format!(
                "ALTER TABLE {table} MODIFY TTL toDateTime({column}) + INTERVAL {days} DAY SETTINGS materialize_ttl_after_modify = 0"
            );
            database.execute("retention", &change).await?;
            tracing::info!(table, days, "retention changed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: a released file never changes; a change is a new file.
    const FROZEN: &[(&str, &str)] = &[
        ("0001_events", "76e325238760ad1b2cadc5e15f10ce5cd9ce44ed36c82c1950437096ec0d5f49"),
        ("0002_coverage", "c60f77db22c26a9c9003066c861c0a58f8647bfc48a51f7d7f512e0d22c6d188"),
        ("0003_alerts", "1a8e3d401ed380f11fbe31823ba44141d8c80a884ef4899ac5fe1d3c6b23fda2"),
        ("0004_operations", "c8b0221edde941717316553a2b76bff229822a9273b7b334dbbee39edecb0e5e"),
        ("0005_audit", "d8714f35a673e5612c0c7c1b7e29c241c9a06ecdbcd4320e72a9c7d870186ed2"),
    ];

    #[test]
    fn a_released_migration_is_never_changed() {
        let now: Vec<_> = MIGRATIONS.iter().map(|migration| (migration.name, migration.checksum())).collect();
        let frozen: Vec<_> = FROZEN.iter().map(|(name, sum)| (*name, (*sum).to_owned())).collect();
        assert_eq!(now, frozen);
    }

    #[test]
    fn numbers_are_dense_and_every_placeholder_is_filled() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.number, index as u64 + 1);
            let blocks = migration.blocks(&Options::default());
            assert!(!blocks.is_empty());
            for block in blocks {
                assert!(!block.statement.contains("{{") && !block.statement.contains(';'), "{}", block.statement);
            }
        }
    }

    #[test]
    fn a_cluster_gets_replicated_tables() {
        let options = Options { replicated: true, ..Options::default() };
        let blocks = MIGRATIONS[0].blocks(&options);
        assert!(blocks[0].statement.contains("ENGINE = ReplicatedReplacingMergeTree(keep)"));
        assert!(blocks[0].statement.contains("replicated_deduplication_window"));
    }
}
