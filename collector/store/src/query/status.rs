//! Figures of the store itself, for `beffroi status`: they belong to no tenant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::error::StoreError;
use crate::sql::{Param, Sql};

/// Size of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableFigures {
    /// Name.
    pub table: String,
    /// Rows, duplicates that are not merged away yet included.
    pub rows: u64,
    /// Parts.
    pub parts: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How full the store is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Version of the engine.
    pub version: String,
    /// Tables.
    pub tables: Vec<TableFigures>,
    /// When events were last stored, RFC 3339; empty for never.
    pub last_batch: String,
    /// Room left on the disk of the tables.
    pub disk_free_bytes: u64,
    /// Size of that disk.
    pub disk_total_bytes: u64,
}

impl Store {
    /// Reads them.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn figures(&self) -> Result<Figures, StoreError> {
        let database = || Param::Text(self.database().name.clone());
        let tables = "SELECT table, sum(rows) AS rows, count() AS parts, sum(bytes_on_disk) AS bytes FROM system.parts
            WHERE active AND database = {database:String} GROUP BY table ORDER BY table";
        let tables = self.database().all(Sql::operational("table figures", tables).set("database", database())).await?;
        let rest = "SELECT version() AS version, (SELECT min(free_space) FROM system.disks) AS free,
            (SELECT min(total_space) FROM system.disks) AS total,
            (SELECT max(stored_at) FROM hosts) AS last, (SELECT count() FROM hosts) AS hosts";
        let rows = self.database().rows(Sql::operational("figures", rest)).await?;
        let Some(row) = rows.first() else { return Ok(Figures { tables, ..Figures::default() }) };
        let text = |name: &str| row.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let number = |name: &str| row.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(Figures {
            version: text("version"),
            tables,
            last_batch: if number("hosts") == 0 { String::new() } else { text("last") },
            disk_free_bytes: number("free"),
            disk_total_bytes: number("total"),
        })
    }
}
