//! The HTTP client of ClickHouse: statements, insert blocks, rows as JSON. The only file that speaks to the engine.
//!
//! Errors name the statement and ClickHouse's code, never a password; what an API shows of them is the API's matter.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::{Client, Compression, error::Error as ClientError};
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::options::Options;
use crate::sql::{Param, Row, Sql};

/// Longest time of a question of an analyst, seconds: below the 60 s that the embedded engine allows.
const QUERY_SECONDS: &str = "25";
/// Rows and bytes that one question may read: a runaway scan is stopped before it starves the inserts.
const QUERY_READ_ROWS: &str = "2000000000";
const QUERY_READ_BYTES: &str = "200000000000";
/// Bytes of one answer.
const QUERY_RESULT_BYTES: &str = "100000000";
/// Longest wait for the answer to an insert or a migration: beyond it the same block is sent again.
const INSERT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest ClickHouse message kept in an error.
const MESSAGE_CHARS: usize = 400;
/// A block is sent in pieces of this size.
const CHUNK_BYTES: usize = 1 << 20;

/// A database of a ClickHouse server.
#[derive(Clone)]
pub(crate) struct Database {
    client: Client,
    url: String,
    pub(crate) name: String,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("url", &self.url).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Database {
    pub(crate) fn new(options: &Options) -> Result<Self, StoreError> {
        let mut client = Client::default().with_url(&options.url).with_user(&options.user).with_validation(false);
        if let Some(path) = &options.password_file {
            let password = std::fs::read_to_string(path).map_err(|source| StoreError::Password { path: path.clone(), source })?;
            client = client.with_password(password.trim_end_matches(['\r', '\n']));
        }
        // Over loopback, packing costs more than the bytes it saves.
        let compression = if is_loopback(&options.url) { Compression::None } else { Compression::Lz4 };
        client = client.with_compression(compression).with_product_info("beffroi-store", env!("CARGO_PKG_VERSION"));
        Ok(Self { client, url: options.url.clone(), name: options.database.clone() })
    }

    fn here(&self) -> Client {
        self.client.clone().with_database(&self.name)
    }

    /// Whether the server answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let query = self.client.query_raw("SELECT 1").with_setting("max_execution_time", "5");
        self.timed(Duration::from_secs(6), "ping", query.execute()).await
    }

    /// Creates the database. Its name was checked to be an identifier.
    pub(crate) async fn create(&self) -> Result<(), StoreError> {
        let query = self.client.query_raw(&format!("CREATE DATABASE IF NOT EXISTS {}", self.name));
        self.timed(INSERT_TIMEOUT, "create database", query.execute()).await
    }

    /// Runs a statement of a migration.
    pub(crate) async fn execute(&self, what: &'static str, statement: &str) -> Result<(), StoreError> {
        self.timed(INSERT_TIMEOUT, what, self.here().query_raw(statement).execute()).await
    }

    /// Inserts one block. The token makes a repeated insert of the same block nothing.
    pub(crate) async fn insert(&self, statement: &str, token: &str, body: Bytes) -> Result<(), StoreError> {
        let mut insert = self
            .here()
            .insert_formatted_with(statement)
            .with_timeouts(Some(INSERT_TIMEOUT), Some(INSERT_TIMEOUT))
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token)
            .with_setting("max_insert_block_size", "1048449");
        let sent = async {
            let mut rest = body;
            while !rest.is_empty() {
                insert.send(rest.split_to(rest.len().min(CHUNK_BYTES))).await?;
            }
            insert.end().await
        };
        sent.await.map_err(|error| self.error("insert", error))
    }

    /// Rows of a question, within the limits of a question.
    pub(crate) async fn rows(&self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        let name = sql.name;
        let started = std::time::Instant::now();
        let mut query = self.here().query_raw(&sql.text);
        for (name, value) in QUERY_SETTINGS {
            query = query.with_setting(*name, *value);
        }
        for (name, param) in sql.params {
            query = match param {
                Param::Text(text) => query.with_setting(format!("param_{name}"), escape(&text)),
                Param::Texts(list) => query.with_setting(format!("param_{name}"), array(&list)),
                Param::Int(number) => query.with_setting(format!("param_{name}"), number.to_string()),
                Param::Uint(number) => query.with_setting(format!("param_{name}"), number.to_string()),
            };
        }
        let answer = async { query.fetch_bytes("JSONEachRow")?.collect().await };
        let answer = answer.await.map_err(|error| self.error(name, error));
        let outcome = if answer.is_ok() { "ok" } else { "error" };
        metrics::counter!("beffroi_store_queries_total", "query" => name, "outcome" => outcome).increment(1);
        metrics::histogram!("beffroi_store_query_seconds", "query" => name).record(started.elapsed().as_secs_f64());
        let answer = answer?;
        let rows = serde_json::Deserializer::from_slice(&answer).into_iter().collect::<Result<Vec<Row>, _>>();
        rows.map_err(|error| StoreError::Answer { what: name, why: error.to_string() })
    }

    /// Rows of a question as values.
    pub(crate) async fn all<T: DeserializeOwned>(&self, sql: Sql) -> Result<Vec<T>, StoreError> {
        let name = sql.name;
        let parse = |row| serde_json::from_value(serde_json::Value::Object(row));
        let rows = self.rows(sql).await?.into_iter().map(parse).collect::<Result<_, _>>();
        rows.map_err(|error| StoreError::Answer { what: name, why: error.to_string() })
    }

    async fn timed<T>(
        &self,
        limit: Duration,
        what: &'static str,
        call: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| self.error(what, error)),
            Err(_) => Err(StoreError::Unreachable {
                url: self.url.clone(),
                why: format!("no answer to {what} in {} s", limit.as_secs()),
            }),
        }
    }

    fn error(&self, what: &'static str, error: ClientError) -> StoreError {
        match error {
            ClientError::BadResponse(text) => {
                let code = text.split_once("Code: ").and_then(|(_, rest)| {
                    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
                });
                match code {
                    // TOO_SLOW, TIMEOUT_EXCEEDED, TOO_MANY_ROWS, TOO_MANY_BYTES, TOO_MANY_ROWS_OR_BYTES, MEMORY_LIMIT_EXCEEDED
                    Some(158 | 159 | 160 | 241 | 307 | 396) => StoreError::Limit,
                    _ => StoreError::Refused { what, code, why: text.chars().take(MESSAGE_CHARS).collect() },
                }
            }
            other => StoreError::Unreachable { url: self.url.clone(), why: chain(&other) },
        }
    }
}

/// Limits and forms of every question. Memory is the server's matter: it refuses a setting above its own.
const QUERY_SETTINGS: &[(&str, &str)] = &[
    ("readonly", "2"),
    ("max_execution_time", QUERY_SECONDS),
    ("timeout_overflow_mode", "throw"),
    ("max_rows_to_read", QUERY_READ_ROWS),
    ("max_bytes_to_read", QUERY_READ_BYTES),
    ("read_overflow_mode", "throw"),
    ("max_result_bytes", QUERY_RESULT_BYTES),
    ("result_overflow_mode", "throw"),
    // Equal rows may lie in two partitions (a resend after midnight): FINAL must look across them.
    ("do_not_merge_across_partitions_select_final", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_validate_utf8", "1"),
    ("output_format_json_quote_denormals", "1"),
    ("date_time_output_format", "iso"),
];

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text.chars().take(MESSAGE_CHARS).collect()
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// A value of a parameter of type `String`: read by ClickHouse as an escaped TSV field.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\0' => escaped.push_str("\\0"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A value of a parameter of type `Array(String)`: quoted elements, each escaped once.
fn array(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| format!("'{}'", escape(text).replace('\'', "\\'"))).collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_address_and_not_by_looks() {
        assert!(is_loopback("http://127.0.0.1:8123") && is_loopback("http://[::1]:8123") && is_loopback("http://localhost"));
        assert!(!is_loopback("http://127.evil.example") && !is_loopback("http://10.0.0.1"));
    }

    #[test]
    fn the_code_of_a_refusal_is_read_and_limits_are_told_apart() {
        let database = Database::new(&Options::default()).unwrap();
        let error = |text: &str| database.error("x", ClientError::BadResponse(text.into()));
        assert!(matches!(error("Code: 252. DB::Exception: Too many parts"), StoreError::Refused { code: Some(252), .. }));
        assert!(matches!(error("Code: 159. DB::Exception: Timeout"), StoreError::Limit));
        assert!(error("Code: 252. DB").is_passing() && !error("Code: 62. DB").is_passing());
    }
}
