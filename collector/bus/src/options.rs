//! Settings of the bus, as they stand in the configuration file.
//!
//! Owns the defaults, their reasons and their validation. Passwords are only ever named by file, so that they appear
//! in no argument list, environment or `Debug` output.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::BusError;

/// Partitions of the embedded bus: enough to use the cores of one machine. Fixed for the life of a bus folder.
pub const EMBEDDED_PARTITIONS: u32 = 4;
/// Partitions on Kafka. Fixed for a topic's life; more means a new topic version and a drain.
pub const KAFKA_PARTITIONS: u32 = 48;
/// Most partitions accepted: each one costs a thread (embedded) or broker files.
pub const MAX_PARTITIONS: u32 = 1024;
/// How long records are kept (hours): a long weekend without a detector or a store loses nothing.
pub const RETENTION_HOURS: u32 = 72;
/// Default limit of the embedded bus on disk (bytes).
pub const EMBEDDED_MAX_BYTES: u64 = 20 * 1024 * 1024 * 1024;
/// Smallest limit accepted (bytes): each partition holds a segment or two.
pub const EMBEDDED_MIN_BYTES: u64 = 64 * 1024 * 1024;
/// Memory of the Kafka producer's queue (KiB).
pub const PRODUCER_QUEUE_KIB: u32 = 64 * 1024;

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BusOptions {
    /// Logs in a folder of this machine; every role in one process.
    Embedded(EmbeddedOptions),
    /// Apache Kafka.
    Kafka(KafkaOptions),
}

impl Default for BusOptions {
    fn default() -> Self {
        Self::Embedded(EmbeddedOptions::default())
    }
}

/// Settings of the embedded bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedOptions {
    /// Folder of the bus. Empty in the configuration means the server's `<data>/bus`; the bus itself refuses it.
    pub dir: PathBuf,
    /// Partitions of events, alerts and dead letters; must not change once the folder exists.
    pub partitions: u32,
    /// How long events, alerts and dead letters are kept, and orders at least seven days.
    pub retention_hours: u32,
    /// Limit of all topics together. Beyond it the oldest segments go, read or not (which is counted and logged);
    /// control and audit never go.
    pub max_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            partitions: EMBEDDED_PARTITIONS,
            retention_hours: RETENTION_HOURS,
            max_bytes: EMBEDDED_MAX_BYTES,
        }
    }
}

/// Settings of Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaOptions {
    /// First brokers to ask, `host:port`.
    pub brokers: Vec<String>,
    /// Put before every topic and group name, for example `beffroi.`.
    pub topic_prefix: String,
    /// Create what is missing. False is "the topics exist already": they are verified, and an error names each
    /// missing one with the command that creates it.
    pub create_topics: bool,
    /// Copies of each partition, when topics are created.
    pub replication: u16,
    /// Copies that must have a record before it counts (`min.insync.replicas`), when topics are created.
    pub min_insync_replicas: u16,
    /// Partitions of events, alerts and dead letters, when topics are created.
    pub partitions: u32,
    /// How long events, alerts and dead letters are kept, when topics are created.
    pub retention_hours: u32,
    /// TLS to the brokers.
    pub tls: Option<TlsOptions>,
    /// Who we are to the brokers.
    pub sasl: Option<SaslOptions>,
    /// Stable name of this process. With it a restart within the session timeout keeps its partitions
    /// (`group.instance.id`). Must differ between processes.
    pub instance: Option<String>,
    /// Largest record accepted (bytes), should the broker's own limit be below the default.
    pub max_record_bytes: usize,
    /// Memory that records waiting for the broker may take (KiB); beyond it publishers wait.
    pub producer_queue_kib: u32,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".into()],
            topic_prefix: String::new(),
            create_topics: true,
            replication: 1,
            min_insync_replicas: 1,
            partitions: KAFKA_PARTITIONS,
            retention_hours: RETENTION_HOURS,
            tls: None,
            sasl: None,
            instance: None,
            max_record_bytes: crate::record::MAX_RECORD_BYTES,
            producer_queue_kib: PRODUCER_QUEUE_KIB,
        }
    }
}

/// TLS to the brokers. An empty table means: system trust store, no client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// PEM file of the authorities that sign the brokers' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// SASL mechanisms that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself; only over TLS, or to loopback.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are to the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslOptions {
    /// Which mechanism.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
}

impl BusOptions {
    /// Refuses settings that cannot work, naming the option and what to write instead.
    pub fn validate(&self) -> Result<(), BusError> {
        match self {
            Self::Embedded(options) => options.validate(),
            Self::Kafka(options) => options.validate(),
        }
    }
}

fn check_range(option: &'static str, value: u64, low: u64, high: u64) -> Result<(), BusError> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(BusError::option(option, format!("{value} is not between {low} and {high}"))),
    }
}

impl EmbeddedOptions {
    fn validate(&self) -> Result<(), BusError> {
        if self.dir.as_os_str().is_empty() {
            return Err(BusError::option("bus.dir", "it is empty; name a folder on a local disk"));
        }
        check_range("bus.partitions", self.partitions.into(), 1, MAX_PARTITIONS.into())?;
        check_range("bus.retention_hours", self.retention_hours.into(), 1, 10 * 365 * 24)?;
        check_range("bus.max_bytes", self.max_bytes, EMBEDDED_MIN_BYTES, u64::MAX)
    }
}

impl KafkaOptions {
    fn validate(&self) -> Result<(), BusError> {
        if self.brokers.is_empty() || self.brokers.iter().any(|b| !is_host_port(b)) {
            return Err(BusError::option("bus.brokers", "name at least one broker, each as host:port"));
        }
        if !is_name(&self.topic_prefix, 100) {
            return Err(BusError::option("bus.topic_prefix", "only a-z A-Z 0-9 . _ - are allowed, at most 100 of them"));
        }
        if self.instance.as_deref().is_some_and(|name| name.is_empty() || !is_name(name, 100)) {
            return Err(BusError::option("bus.instance", "only a-z A-Z 0-9 . _ - are allowed, 1 to 100 of them"));
        }
        check_range("bus.partitions", self.partitions.into(), 1, MAX_PARTITIONS.into())?;
        check_range("bus.retention_hours", self.retention_hours.into(), 1, 10 * 365 * 24)?;
        check_range("bus.replication", self.replication.into(), 1, 15)?;
        check_range("bus.min_insync_replicas", self.min_insync_replicas.into(), 1, self.replication.into())?;
        check_range("bus.max_record_bytes", self.max_record_bytes as u64, 16 * 1024, crate::record::MAX_RECORD_BYTES as u64)?;
        check_range("bus.producer_queue_kib", self.producer_queue_kib.into(), 2 * 1024, 2 * 1024 * 1024)?;
        self.validate_security()
    }

    fn validate_security(&self) -> Result<(), BusError> {
        if let Some(tls) = &self.tls
            && tls.cert.is_some() != tls.key.is_some()
        {
            return Err(BusError::option("bus.tls", "cert and key go together; give both or neither"));
        }
        let plain = self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain);
        if plain && self.tls.is_none() && !self.brokers.iter().all(|b| is_loopback(b)) {
            let reason = "PLAIN would send the password in clear; add [bus.tls] or use SCRAM-SHA-512";
            return Err(BusError::option("bus.sasl.mechanism", reason));
        }
        Ok(())
    }
}

/// Letters that Kafka allows in names.
pub(crate) fn is_name(name: &str, max: usize) -> bool {
    name.len() <= max && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_host_port(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let clean = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'/' | b'=');
    !host.is_empty() && host.bytes().all(clean) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<BusOptions, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = parse(r#"{"kind":"kafka","broker":["a:1"]}"#).unwrap_err();
        assert!(error.contains("unknown field `broker`"), "{error}");
        let error = parse(r#"{"kind":"embedded","max_size":1}"#).unwrap_err();
        assert!(error.contains("unknown field `max_size`"), "{error}");
        let error = parse(r#"{"kind":"redis"}"#).unwrap_err();
        assert!(error.contains("redis"), "{error}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let BusOptions::Kafka(kafka) = parse(r#"{"kind":"kafka","brokers":["k1:9092","[::1]:9093"]}"#).unwrap() else { panic!() };
        assert_eq!((kafka.partitions, kafka.retention_hours, kafka.create_topics), (48, 72, true));
        BusOptions::Kafka(kafka).validate().unwrap();
    }

    #[test]
    fn unusable_values_are_refused_with_the_name_of_the_option() {
        let kafka = |change: fn(&mut KafkaOptions)| {
            let mut options = KafkaOptions::default();
            change(&mut options);
            BusOptions::Kafka(options).validate().unwrap_err().to_string()
        };
        assert!(kafka(|o| o.brokers.clear()).contains("bus.brokers"));
        assert!(kafka(|o| o.brokers = vec!["nohost".into()]).contains("host:port"));
        assert!(kafka(|o| o.topic_prefix = "a b".into()).contains("bus.topic_prefix"));
        assert!(kafka(|o| o.partitions = 0).contains("bus.partitions"));
        assert!(kafka(|o| o.min_insync_replicas = 2).contains("bus.min_insync_replicas"));
        assert!(kafka(|o| o.tls = Some(TlsOptions { cert: Some("c".into()), ..Default::default() })).contains("bus.tls"));
        assert!(BusOptions::default().validate().unwrap_err().to_string().contains("bus.dir"));
    }

    #[test]
    fn a_password_goes_in_clear_to_loopback_only() {
        let mut options = KafkaOptions {
            sasl: Some(SaslOptions { mechanism: SaslMechanism::Plain, username: "u".into(), password_file: "p".into() }),
            ..Default::default()
        };
        BusOptions::Kafka(options.clone()).validate().unwrap();
        options.brokers = vec!["kafka.example:9092".into()];
        assert!(BusOptions::Kafka(options.clone()).validate().unwrap_err().to_string().contains("SCRAM"));
        options.tls = Some(TlsOptions::default());
        BusOptions::Kafka(options).validate().unwrap();
    }
}
