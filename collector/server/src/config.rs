//! The collector's configuration: one TOML file with a section for each role. An unknown key is an error that names the
//! file and the line; what is left out has a default that works on one machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use beffroi_bus::{BusOptions, EmbeddedOptions};
use serde::{Deserialize, Serialize};

/// A role of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Agent sessions.
    Gateway,
    /// Enrolment and renewal; holds the CA key.
    Enroll,
    /// Detection.
    Detect,
    /// Storage.
    Store,
    /// HTTP API.
    Api,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Self::Gateway, Self::Enroll, Self::Detect, Self::Store, Self::Api];
}

/// Metrics and health of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Observe {
    /// Where `/metrics`, `/healthz` and `/readyz` listen. Port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Observe {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// The embedded ClickHouse: a process of its own, started and supervised by the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouse {
    /// Whether it is used. With `false`, `[store]` says where ClickHouse is.
    pub embedded: bool,
    /// Unprivileged user of the engine when the collector runs as root. Default: `beffroi-clickhouse` where it exists, else
    /// `nobody`.
    pub user: Option<String>,
    /// Memory of the engine in MiB.
    pub max_memory_mib: Option<u64>,
    /// The engine's library.
    pub library: Option<PathBuf>,
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self { embedded: true, user: None, max_memory_mib: None, library: None }
    }
}

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of everything that this process keeps.
    pub data: PathBuf,
    /// Roles of this process.
    pub roles: Vec<Role>,
    /// Kafka, or logs in a folder.
    pub bus: BusOptions,
    /// Agent sessions and enrolment.
    pub gateway: beffroi_gateway::Options,
    /// Detection.
    pub detect: beffroi_detect::DetectOptions,
    /// Storage.
    pub store: beffroi_store::Options,
    /// The embedded ClickHouse.
    pub clickhouse: ClickHouse,
    /// HTTP API.
    pub api: beffroi_api::Options,
    /// Metrics and health.
    pub observe: Observe,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("/var/lib/beffroi"),
            roles: Role::ALL.to_vec(),
            bus: BusOptions::default(),
            gateway: Default::default(),
            detect: Default::default(),
            store: Default::default(),
            clickhouse: Default::default(),
            api: Default::default(),
            observe: Default::default(),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; name another file with --config")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{path}: {reason}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, key, and what is allowed.
        reason: String,
    },
    /// Values do not fit together.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text).map_err(|error| ConfigError::Parse { path: path.into(), reason: error.to_string() })
    }

    /// Reads text.
    ///
    /// # Errors
    /// The parser's error with line and key.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Fills in what depends on the data folder.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when roles and bus do not fit together.
    pub fn complete(mut self) -> Result<Self, ConfigError> {
        if self.roles.is_empty() {
            return Err(ConfigError::Invalid("roles is empty: name at least one of gateway, enroll, detect, store, api".into()));
        }
        if let BusOptions::Embedded(EmbeddedOptions { dir, .. }) = &mut self.bus {
            if dir.as_os_str().is_empty() {
                *dir = self.data.join("bus");
            }
            if self.roles.len() < Role::ALL.len() {
                return Err(ConfigError::Invalid(
                    "roles on several machines need Kafka: set kind = \"kafka\" and brokers under [bus], or leave roles out"
                        .into(),
                ));
            }
        }
        if self.clickhouse.embedded && self.store.url != beffroi_store::Options::default().url {
            return Err(ConfigError::Invalid(
                "[store] url names a ClickHouse, but the embedded one is on: set embedded = false under [clickhouse]".into(),
            ));
        }
        if self.gateway.pki.as_os_str().is_empty() {
            self.gateway.pki = self.data.join("pki");
        }
        if self.api.token_file.as_os_str().is_empty() {
            self.api.token_file = self.data.join("api/admin.token");
        }
        if self.detect.rules.is_empty() {
            self.detect.rules = vec![self.data.join("rules")];
        }
        Ok(self)
    }

    /// Whether this process has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse("data = \"/x\"\n[gateway]\nlissten = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("lissten"), "{error}");
    }

    #[test]
    fn without_a_file_every_role_runs_on_its_own_disk() {
        let config = Config::default().complete().unwrap();
        assert!(Role::ALL.iter().all(|role| config.has(*role)));
        let BusOptions::Embedded(bus) = &config.bus else { panic!("embedded") };
        assert_eq!(bus.dir, Path::new("/var/lib/beffroi/bus"));
    }

    #[test]
    fn some_roles_without_kafka_are_refused_with_the_way_out() {
        let error = Config::parse("roles = [\"gateway\"]").unwrap().complete().unwrap_err().to_string();
        assert!(error.contains("kafka"), "{error}");
    }

    #[test]
    fn a_url_beside_the_embedded_engine_is_refused_with_the_way_out() {
        let error = Config::parse("[store]\nurl = \"http://db.example:8123\"").unwrap().complete().unwrap_err().to_string();
        assert!(error.contains("embedded = false"), "{error}");
    }

    #[test]
    fn the_frozen_configuration_of_version_1_still_loads() {
        let text = include_str!("../tests/fixtures/v1/collector.toml");
        let config = Config::parse(text).unwrap().complete().unwrap();
        assert!(matches!(config.bus, BusOptions::Kafka(_)));
    }
}
