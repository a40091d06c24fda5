//! Settings of the gateway, each with its default, its unit and its bounds. Unknown keys are errors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use beffroi_schema::limits::MAX_BATCH_BYTES;
use serde::{Deserialize, Serialize};

/// Which roles this process serves on the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Batches, hello, orders.
    pub ingest: bool,
    /// Enrolment and renewal. Holds the CA key.
    pub enroll: bool,
}

impl Roles {
    /// Both.
    pub const ALL: Roles = Roles { ingest: true, enroll: true };
    pub(crate) const GATEWAY: &'static str = "gateway";
    pub(crate) const ENROLL: &'static str = "enroll";

    /// Names of the roles that are served, as in health reports.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.ingest, Self::GATEWAY), (self.enroll, Self::ENROLL)].into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
    }
}

/// Settings of the gateway and the enroll role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address and port to listen on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the server CA. Empty: `pki` in the collector's data folder.
    pub pki: PathBuf,
    /// Name of this gateway in records and logs. Empty: the host's name.
    pub name: String,
    /// DNS names and addresses under which agents reach this gateway; `localhost`, the loopback addresses and the host's
    /// name are always added.
    pub names: Vec<String>,
    /// Life of the gateway's own certificate in seconds; renewed at two thirds.
    pub certificate_seconds: u64,
    /// Certificate and key from files instead of our own CA: needed where the CA key is kept elsewhere.
    pub tls: Option<ProvidedCertificate>,
    /// Limits on connections and memory.
    pub limits: LimitOptions,
    /// How much agents and tenants may send.
    pub quota: QuotaOptions,
}

/// Files of a certificate that an operator provides; it must chain to the server CA. Taken over when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvidedCertificate {
    /// Chain (PEM), leaf first, server CA last: a host that enrols knows only the CA's fingerprint.
    pub certificate: PathBuf,
    /// Private key (PEM, PKCS#8).
    pub key: PathBuf,
}

/// Limits on connections and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOptions {
    /// Open connections.
    pub connections: usize,
    /// Of these, connections that have not shown a certificate (yet).
    pub unauthenticated: usize,
    /// Seconds until a TLS handshake must be done.
    pub handshake_seconds: u64,
    /// Seconds that a connection without certificate may live.
    pub unauthenticated_seconds: u64,
    /// Seconds after which a connection is asked to come again (with up to a quarter of jitter): spreads agents over
    /// gateways and bounds what an old certificate is good for.
    pub session_seconds: u64,
    /// Bytes of batches that are being read or waiting for the bus.
    pub in_flight_bytes: usize,
}

/// How much may be sent. Bursts are what may be sent at once after a quiet time, for example a spool after an outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaOptions {
    /// Bytes per second of one agent.
    pub agent_bytes_per_second: u64,
    /// Burst of one agent, bytes.
    pub agent_burst_bytes: u64,
    /// Batches per second of one agent.
    pub agent_batches_per_second: u64,
    /// Burst of one agent, batches.
    pub agent_burst_batches: u64,
    /// Bytes per second of one tenant through this gateway.
    pub tenant_bytes_per_second: u64,
    /// Burst of one tenant, bytes.
    pub tenant_burst_bytes: u64,
    /// Batches per second of one tenant through this gateway.
    pub tenant_batches_per_second: u64,
    /// Burst of one tenant, batches.
    pub tenant_burst_batches: u64,
    /// Enrolments and renewals per minute from one address. Many hosts may stand behind one.
    pub enrolments_per_minute: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            pki: PathBuf::new(),
            name: String::new(),
            names: Vec::new(),
            certificate_seconds: 30 * 24 * 3600,
            tls: None,
            limits: LimitOptions::default(),
            quota: QuotaOptions::default(),
        }
    }
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            connections: 20_000,
            unauthenticated: 512,
            handshake_seconds: 10,
            unauthenticated_seconds: 30,
            session_seconds: 600,
            in_flight_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for QuotaOptions {
    fn default() -> Self {
        Self {
            agent_bytes_per_second: 2 * 1024 * 1024,
            agent_burst_bytes: 64 * 1024 * 1024,
            agent_batches_per_second: 50,
            agent_burst_batches: 1_000,
            tenant_bytes_per_second: 128 * 1024 * 1024,
            tenant_burst_bytes: 1024 * 1024 * 1024,
            tenant_batches_per_second: 5_000,
            tenant_burst_batches: 50_000,
            enrolments_per_minute: 300,
        }
    }
}

/// A setting cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gateway.{key} = {value}: {why}")]
pub struct OptionError {
    key: &'static str,
    value: String,
    why: String,
}

impl OptionError {
    fn new(key: &'static str, value: impl ToString, why: impl Into<String>) -> Self {
        Self { key, value: value.to_string(), why: why.into() }
    }
}

impl Options {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`OptionError`] names the first that cannot be used.
    pub fn validate(&self) -> Result<(), OptionError> {
        if self.pki.as_os_str().is_empty() {
            return Err(OptionError::new("pki", "\"\"", "set the folder of the server CA"));
        }
        if self.name.len() > 253 || self.name.chars().any(char::is_control) {
            return Err(OptionError::new("name", format!("{:?}", self.name), "at most 253 bytes, no control characters"));
        }
        between("certificate_seconds", self.certificate_seconds, 3_600, 397 * 24 * 3600)?;
        self.limits.validate()?;
        self.quota.validate()
    }

    /// Names of the gateway's certificate, without repetition.
    pub(crate) fn all_names(&self, hostname: &str) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
        if rustls_pki_types::DnsName::try_from(hostname).is_ok() {
            names.push(hostname.into());
        }
        names.extend(self.names.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    pub(crate) fn certificate_life(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds)
    }
}

impl LimitOptions {
    fn validate(&self) -> Result<(), OptionError> {
        between("limits.connections", self.connections as u64, 1, 1_000_000)?;
        between("limits.unauthenticated", self.unauthenticated as u64, 1, self.connections as u64)?;
        between("limits.handshake_seconds", self.handshake_seconds, 1, 60)?;
        between("limits.unauthenticated_seconds", self.unauthenticated_seconds, 1, 300)?;
        between("limits.session_seconds", self.session_seconds, 1, 24 * 3600)?;
        between("limits.in_flight_bytes", self.in_flight_bytes as u64, MAX_BATCH_BYTES as u64, 1 << 40)
    }
}

impl QuotaOptions {
    fn validate(&self) -> Result<(), OptionError> {
        let batch = MAX_BATCH_BYTES as u64;
        between("quota.agent_bytes_per_second", self.agent_bytes_per_second, 1_024, 1 << 40)?;
        between("quota.agent_burst_bytes", self.agent_burst_bytes, batch, 1 << 50)?;
        between("quota.agent_batches_per_second", self.agent_batches_per_second, 1, 1_000_000)?;
        between("quota.agent_burst_batches", self.agent_burst_batches, 1, 1_000_000_000)?;
        between("quota.tenant_bytes_per_second", self.tenant_bytes_per_second, 1_024, 1 << 40)?;
        between("quota.tenant_burst_bytes", self.tenant_burst_bytes, batch, 1 << 50)?;
        between("quota.tenant_batches_per_second", self.tenant_batches_per_second, 1, 1_000_000)?;
        between("quota.tenant_burst_batches", self.tenant_burst_batches, 1, 1_000_000_000)?;
        between("quota.enrolments_per_minute", self.enrolments_per_minute, 1, 1_000_000)
    }
}

fn between(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), OptionError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(OptionError::new(key, value, format!("must be {least} to {most}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { pki: "/var/lib/beffroi/pki".into(), ..Default::default() }
    }

    #[test]
    fn the_defaults_are_usable_once_there_is_a_folder() {
        options().validate().unwrap();
        assert!(Options::default().validate().unwrap_err().to_string().contains("gateway.pki"));
    }

    #[test]
    fn unknown_keys_are_refused_and_known_ones_read() {
        let error = toml::from_str::<Options>("lisen = '127.0.0.1:1'").unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
        let read: Options = toml::from_str("names = ['c.example']\n[quota]\nagent_burst_batches = 7").unwrap();
        assert_eq!((read.names.len(), read.quota.agent_burst_batches), (1, 7));
        assert_eq!(read.limits, LimitOptions::default());
    }

    #[test]
    fn a_burst_smaller_than_one_batch_is_refused_with_its_bounds() {
        let mut options = options();
        options.quota.agent_burst_bytes = 1;
        let error = options.validate().unwrap_err().to_string();
        assert!(error.contains("gateway.quota.agent_burst_bytes = 1: must be"), "{error}");
    }

    #[test]
    fn names_are_completed_once() {
        let mut options = options();
        options.names = vec!["localhost".into(), "c.example".into()];
        assert_eq!(options.all_names("host-1"), ["localhost", "127.0.0.1", "::1", "host-1", "c.example"]);
        assert_eq!(options.all_names("not a name").len(), 4);
    }
}
