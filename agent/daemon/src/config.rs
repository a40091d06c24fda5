//! The agent's configuration: one TOML file, every key optional.
//!
//! Owns the keys, their defaults and their limits. A key that does not exist, a value of the wrong type or out of range
//! is refused with the file, the line, the key and what is allowed; the agent never starts on half a configuration.

use std::path::{Path, PathBuf};

use beffroi_scan::{ArchiveLimits, Identity, ScanOptions};
use beffroi_schema::AgentId;
use beffroi_sensor::{SensorOptions, Source};
use serde::{Deserialize, Serialize};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/beffroi/agent.toml";
/// Where the agent keeps its state when none is named.
pub const DEFAULT_STATE: &str = "/var/lib/beffroi-agent";
/// Members of one archive that are looked at when it is written: each costs the rule engine a start.
const MAX_ARCHIVE_ENTRIES: u64 = 10_000;
/// Largest configuration file that is read (bytes).
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is recorded.
    pub sensor: SensorConfig,
    /// What is kept until it is acknowledged.
    pub spool: SpoolConfig,
    /// How it is sent.
    pub uplink: UplinkConfig,
    /// How files are scanned.
    pub scan: ScanConfig,
    /// What signed orders may cost.
    pub orders: OrdersConfig,
}

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// Kernel probes; a scan of /proc where they cannot be used.
    #[default]
    Auto,
    /// Kernel probes or an error.
    Kernel,
    /// A scan of /proc.
    Scan,
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SensorConfig {
    /// Where events come from: `auto`, `kernel`, `scan`.
    pub source: EventSource,
    /// Also report forks (class bulk).
    pub report_forks: bool,
    /// Ring for process starts and ends; a power of two, 4 KiB to 256 MiB.
    pub process_ring_bytes: u32,
    /// Ring for files and network; a power of two, 4 KiB to 256 MiB.
    pub activity_ring_bytes: u32,
}

impl Default for SensorConfig {
    fn default() -> Self {
        Self { source: EventSource::Auto, report_forks: false, process_ring_bytes: 8 << 20, activity_ring_bytes: 4 << 20 }
    }
}

impl SensorConfig {
    /// The sensor's own options.
    pub fn options(&self, agent: AgentId, boot_id: &str) -> SensorOptions {
        SensorOptions {
            source: match self.source {
                EventSource::Auto => Source::Auto,
                EventSource::Kernel => Source::Kernel,
                EventSource::Scan => Source::Scan,
            },
            report_forks: self.report_forks,
            process_ring_bytes: self.process_ring_bytes,
            activity_ring_bytes: self.activity_ring_bytes,
            ..SensorOptions::new(agent, boot_id)
        }
    }
}

/// What is kept until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Most bytes of the whole spool.
    pub max_bytes: u64,
    /// Bytes of the disk that the spool leaves free.
    pub keep_free_bytes: u64,
    /// Percentage of the disk that the spool leaves free; the larger of both counts.
    pub keep_free_percent: u8,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, keep_free_bytes: 1 << 30, keep_free_percent: 5 }
    }
}

/// How batches are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UplinkConfig {
    /// User of the uplink process when the agent runs as root; the first that exists of `beffroi-uplink` and `nobody`.
    pub user: Option<String>,
    /// HTTP CONNECT proxy, for example `http://proxy.example:3128`.
    pub proxy: Option<String>,
    /// Time for a connection (seconds).
    pub connect_timeout_seconds: u64,
    /// Time for one request (seconds).
    pub request_timeout_seconds: u64,
}

impl Default for UplinkConfig {
    fn default() -> Self {
        Self { user: None, proxy: None, connect_timeout_seconds: 10, request_timeout_seconds: 30 }
    }
}

/// How files are scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanConfig {
    /// Whether files are scanned at all.
    pub enabled: bool,
    /// User of the scan worker when the agent runs as root; the first that exists of `beffroi-scan` and `nobody`.
    pub user: Option<String>,
    /// Files that may wait for their scan; more are counted as a gap.
    pub queue: usize,
    /// Folders and files with YARA rules.
    pub rules: Vec<PathBuf>,
    /// Larger files are not scanned (bytes).
    pub max_file_bytes: u64,
    /// Bytes that are unpacked of one archive when it is written, moved or started; 0 leaves archives closed. What is beyond
    /// is unknown: a signed order goes further.
    pub max_archive_bytes: u64,
    /// Budget of one scan (milliseconds).
    pub timeout_ms: u64,
    /// Memory that the worker may take (bytes).
    pub memory_bytes: u64,
}

impl Default for ScanConfig {
    fn default() -> Self {
        let options = ScanOptions::default();
        Self {
            enabled: true,
            user: None,
            queue: 1024,
            rules: options.rules,
            max_file_bytes: options.max_file_bytes,
            // A large web application, and a third of a second for the worker.
            max_archive_bytes: 64 << 20,
            timeout_ms: options.timeout_ms,
            memory_bytes: options.memory_bytes,
        }
    }
}

impl ScanConfig {
    /// The scanner's own options; `identity` is the user that the worker becomes.
    pub fn options(&self, identity: Option<Identity>) -> ScanOptions {
        ScanOptions {
            rules: self.rules.clone(),
            max_file_bytes: self.max_file_bytes,
            timeout_ms: self.timeout_ms,
            memory_bytes: self.memory_bytes,
            archives: self.archives(),
            identity,
            ..ScanOptions::default()
        }
    }
}

impl ScanConfig {
    fn archives(&self) -> Option<ArchiveLimits> {
        (self.max_archive_bytes > 0).then(|| ArchiveLimits {
            entries: MAX_ARCHIVE_ENTRIES,
            bytes: self.max_archive_bytes,
            member_bytes: self.max_archive_bytes.min(self.max_file_bytes),
            ..ArchiveLimits::default()
        })
    }
}

/// What signed orders may cost on this host. An order may ask for less, never for more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrdersConfig {
    /// Whether signed scans are carried out at all; without, they are refused with this reason.
    pub scans: bool,
    /// Time of one scan (seconds).
    pub max_seconds: u64,
    /// Bytes that one scan may read, those of archive members included.
    pub max_total_bytes: u64,
    /// Larger files are not scanned as one piece (bytes); they are named as unknown.
    pub max_file_bytes: u64,
}

impl Default for OrdersConfig {
    fn default() -> Self {
        // Six hours at the lowest priority are enough for any one host; the worker holds one file in memory.
        Self { scans: true, max_seconds: 6 * 3600, max_total_bytes: 4 << 40, max_file_bytes: 128 << 20 }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; name another one with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's own words.
        source: std::io::Error,
    },
    /// The file is no valid configuration.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, key and what is allowed.
        message: String,
    },
    /// A value is out of range.
    #[error("{}: {key} = {value} is out of range: {allowed}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl Config {
    /// Reads `path`; without one, [`DEFAULT_CONFIG`] if it exists, else the defaults.
    ///
    /// # Errors
    /// [`ConfigError`], ready to be shown.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::read(path),
            None if Path::new(DEFAULT_CONFIG).exists() => Self::read(Path::new(DEFAULT_CONFIG)),
            None => Ok(Self::default()),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        use std::io::Read;
        let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(MAX_CONFIG_BYTES).read_to_string(&mut text).map_err(read)?;
        Self::parse(&text, path)
    }

    /// Reads a configuration from text; `path` is what errors name.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] or [`ConfigError::Range`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax { path: path.to_path_buf(), message: error.to_string() };
        let config: Self = toml::from_str(text).map_err(syntax)?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let range = |key, value: String, allowed| Err(ConfigError::Range { path: path.to_path_buf(), key, value, allowed });
        if self.spool.max_bytes < 16 << 20 {
            return range("spool.max_bytes", self.spool.max_bytes.to_string(), "at least 16 MiB (16777216)");
        }
        if self.spool.keep_free_percent > 90 {
            return range("spool.keep_free_percent", self.spool.keep_free_percent.to_string(), "0 to 90");
        }
        for (key, seconds) in [
            ("uplink.connect_timeout_seconds", self.uplink.connect_timeout_seconds),
            ("uplink.request_timeout_seconds", self.uplink.request_timeout_seconds),
        ] {
            if !(1..=600).contains(&seconds) {
                return range(key, seconds.to_string(), "1 to 600");
            }
        }
        if let Some(proxy) = &self.uplink.proxy
            && !(proxy.starts_with("http://") && reqwest::Url::parse(proxy).is_ok_and(|url| url.has_host()))
        {
            // The value may hold a password: it is not repeated.
            return range("uplink.proxy", "\"...\"".into(), "a URL like http://proxy.example:3128");
        }
        if !(1..=65_536).contains(&self.scan.queue) {
            return range("scan.queue", self.scan.queue.to_string(), "1 to 65536");
        }
        if !(100..=600_000).contains(&self.scan.timeout_ms) {
            return range("scan.timeout_ms", self.scan.timeout_ms.to_string(), "100 to 600000");
        }
        if self.scan.max_file_bytes > 1 << 30 {
            return range("scan.max_file_bytes", self.scan.max_file_bytes.to_string(), "at most 1 GiB (1073741824)");
        }
        if self.scan.max_archive_bytes > 1 << 30 {
            return range("scan.max_archive_bytes", self.scan.max_archive_bytes.to_string(), "at most 1 GiB (1073741824)");
        }
        if self.scan.memory_bytes < 64 << 20 {
            return range("scan.memory_bytes", self.scan.memory_bytes.to_string(), "at least 64 MiB (67108864)");
        }
        if !(1..=7 * 24 * 3600).contains(&self.orders.max_seconds) {
            return range("orders.max_seconds", self.orders.max_seconds.to_string(), "1 to 604800");
        }
        if self.orders.max_file_bytes > 1 << 30 {
            return range("orders.max_file_bytes", self.orders.max_file_bytes.to_string(), "at most 1 GiB (1073741824)");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::parse(text, Path::new("agent.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("", Path::new("x")).unwrap(), Config::default());
    }

    #[test]
    fn the_packaged_file_names_every_key_with_its_default() {
        let file = include_str!("../../../packaging/systemd/etc/agent.toml");
        // Examples of keys have no space behind the sign, sentences do.
        let is_key = |line: &&str| !line.starts_with(' ') && line.contains(" = ");
        let lines = file.lines().map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line));
        let text = lines.collect::<Vec<_>>().join("\n");
        Config::parse(&text, Path::new("agent.toml")).unwrap();
        let named: toml::Table = text.parse().unwrap();
        for (section, keys) in toml::Table::try_from(Config::default()).unwrap() {
            for (key, value) in keys.as_table().unwrap() {
                assert_eq!(named[&section].get(key), Some(value), "{section}.{key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_key_and_what_is_allowed() {
        let error = refusal("[spool]\nmax_bytes = 1073741824\nmaxbytes = 3\n");
        for part in ["agent.toml", "line 3", "maxbytes", "keep_free_percent"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn a_wrong_type_and_a_value_out_of_range_are_refused_by_key() {
        assert!(refusal("[spool]\nmax_bytes = \"much\"").contains("line 2"));
        assert!(refusal("[spool]\nmax_bytes = 5").contains("spool.max_bytes = 5"));
        assert!(refusal("[uplink]\nconnect_timeout_seconds = 0").contains("1 to 600"));
    }

    #[test]
    fn archives_stay_closed_when_nothing_of_them_may_be_unpacked() {
        let archives = |text: &str| Config::parse(text, Path::new("x")).unwrap().scan.options(None).archives;
        assert_eq!(archives("[scan]\nmax_archive_bytes = 0"), None);
        assert_eq!(
            archives("[scan]\nmax_archive_bytes = 1000").map(|limits| (limits.bytes, limits.member_bytes)),
            Some((1000, 1000))
        );
        assert_eq!(archives("").map(|limits| limits.depth), Some(4));
        assert!(refusal("[scan]\nmax_archive_bytes = 2000000000").contains("at most 1 GiB"));
    }

    #[test]
    fn a_proxy_that_is_no_url_is_refused_without_repeating_it() {
        let error = refusal("[uplink]\nproxy = \"user:hunter2@proxy\"");
        assert!(error.contains("uplink.proxy") && !error.contains("hunter2"), "{error}");
    }
}
