//! From our options to librdkafka's settings. The password is read from its file here and goes nowhere else.

use std::path::Path;

use rdkafka::ClientConfig;

use crate::error::BusError;
use crate::options::{KafkaOptions, SaslOptions, TlsOptions};
use crate::topic::Topic;

/// Largest password file (bytes).
const MAX_PASSWORD_FILE_BYTES: u64 = 4096;
/// How long the broker tries to place a record before its publisher gets an error (milliseconds): longer than a
/// leader election, shorter than an agent's patience.
const DELIVERY_TIMEOUT_MS: u32 = 10_000;
/// How long records wait for company (milliseconds).
const LINGER_MS: u32 = 5;
/// Records that wait for the broker; the bytes are bounded by `producer_queue_kib`.
const PRODUCER_QUEUE_RECORDS: u32 = 500_000;
/// Memory of records fetched ahead, for each consumer (KiB).
const CONSUMER_QUEUE_KIB: u32 = 32 * 1024;
/// After this long without a sign of life a member's partitions go to others (milliseconds).
const SESSION_TIMEOUT_MS: u32 = 10_000;
/// Headroom of a topic's `max.message.bytes` over our largest record: framing of Kafka, growth by compression.
const MESSAGE_HEADROOM_BYTES: usize = 64 * 1024;

/// Settings that every client shares: where the brokers are and who we are.
pub(super) fn base(options: &KafkaOptions) -> Result<ClientConfig, BusError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", options.brokers.join(","));
    config.set("client.id", "beffroi");
    config.set("topic.metadata.refresh.interval.ms", "30000");
    config.set("reconnect.backoff.max.ms", "5000");
    config.set("socket.keepalive.enable", "true");
    config.set("message.max.bytes", (options.max_record_bytes + MESSAGE_HEADROOM_BYTES).to_string());
    config.set("security.protocol", protocol(options));
    if let Some(tls) = &options.tls {
        set_tls(&mut config, tls)?;
    }
    if let Some(sasl) = &options.sasl {
        set_sasl(&mut config, sasl)?;
    }
    Ok(config)
}

/// Settings of the producer: nothing lost, nothing doubled, order kept.
pub(super) fn producer(options: &KafkaOptions) -> Result<ClientConfig, BusError> {
    let mut config = base(options)?;
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("compression.codec", "zstd");
    config.set("compression.level", "1");
    config.set("linger.ms", LINGER_MS.to_string());
    config.set("delivery.timeout.ms", DELIVERY_TIMEOUT_MS.to_string());
    config.set("request.timeout.ms", "5000");
    config.set("queue.buffering.max.messages", PRODUCER_QUEUE_RECORDS.to_string());
    // Twice what publishers may queue: they wait for permits, the queue itself never refuses.
    config.set("queue.buffering.max.kbytes", (2 * options.producer_queue_kib).to_string());
    // The partition of a key as Kafka's own clients and the embedded bus choose it.
    config.set("partitioner", "murmur2_random");
    Ok(config)
}

/// Settings of every consumer; `group` is the whole group name.
pub(super) fn consumer(options: &KafkaOptions, group: &str) -> Result<ClientConfig, BusError> {
    let mut config = base(options)?;
    config.set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest");
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string());
    config.set("heartbeat.interval.ms", (SESSION_TIMEOUT_MS / 4).to_string());
    config.set("queued.max.messages.kbytes", CONSUMER_QUEUE_KIB.to_string());
    config.set("fetch.wait.max.ms", "100");
    config.set("fetch.error.backoff.ms", "100");
    config.set("isolation.level", "read_committed");
    Ok(config)
}

/// Settings that a topic is created with.
pub(super) fn topic_settings(options: &KafkaOptions, topic: Topic) -> Vec<(&'static str, String)> {
    let retention = topic.retention_hours(options.retention_hours).map_or(-1, |hours| i64::from(hours) * 3_600_000);
    let mut settings = vec![
        ("cleanup.policy", "delete".into()),
        ("retention.ms", retention.to_string()),
        ("message.timestamp.type", "LogAppendTime".into()),
        ("max.message.bytes", (options.max_record_bytes + MESSAGE_HEADROOM_BYTES).to_string()),
        ("min.insync.replicas", options.min_insync_replicas.to_string()),
    ];
    if retention < 0 {
        settings.push(("retention.bytes", "-1".into()));
    }
    settings
}

/// The command that creates a topic by hand.
pub(super) fn create_command(options: &KafkaOptions, topic: Topic) -> String {
    let settings = topic_settings(options, topic).into_iter().map(|(name, value)| format!(" --config {name}={value}"));
    format!(
        "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions {} --replication-factor {}{}",
        options.brokers.first().map_or("HOST:PORT", String::as_str),
        name(options, topic),
        topic.partitions(options.partitions),
        options.replication,
        settings.collect::<String>()
    )
}

/// Name of a topic with the prefix.
pub(super) fn name(options: &KafkaOptions, topic: Topic) -> String {
    format!("{}{}", options.topic_prefix, topic.name())
}

/// Name of a group with the prefix.
pub(super) fn group_name(options: &KafkaOptions, group: &str) -> String {
    format!("{}{group}", options.topic_prefix)
}

fn protocol(options: &KafkaOptions) -> &'static str {
    match (&options.tls, &options.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

fn set_tls(config: &mut ClientConfig, tls: &TlsOptions) -> Result<(), BusError> {
    let files = [
        ("bus.tls.ca", "ssl.ca.location", &tls.ca),
        ("bus.tls.cert", "ssl.certificate.location", &tls.cert),
        ("bus.tls.key", "ssl.key.location", &tls.key),
    ];
    for (option, setting, file) in files {
        if let Some(file) = file {
            config.set(setting, readable(option, file)?);
        }
    }
    config.set("ssl.endpoint.identification.algorithm", "https");
    config.set("enable.ssl.certificate.verification", "true");
    Ok(())
}

fn set_sasl(config: &mut ClientConfig, sasl: &SaslOptions) -> Result<(), BusError> {
    config.set("sasl.mechanism", sasl.mechanism.name());
    config.set("sasl.username", &sasl.username);
    config.set("sasl.password", password(&sasl.password_file)?);
    Ok(())
}

/// The path as text, if the file can be opened: librdkafka's own message would name neither option nor file.
fn readable(option: &'static str, file: &Path) -> Result<String, BusError> {
    std::fs::File::open(file).map_err(|e| BusError::option(option, format!("cannot read {}: {e}", file.display())))?;
    let text = file.to_str().ok_or_else(|| BusError::option(option, "its path is not UTF-8; rename it"))?;
    Ok(text.to_owned())
}

/// The first line of the file.
fn password(file: &Path) -> Result<String, BusError> {
    let refuse = |reason: String| BusError::option("bus.sasl.password_file", reason);
    let opened = std::fs::File::open(file).map_err(|e| refuse(format!("cannot read {}: {e}", file.display())))?;
    let text = std::io::read_to_string(std::io::Read::take(opened, MAX_PASSWORD_FILE_BYTES));
    let text = text.map_err(|e| refuse(format!("cannot read {}: {e}", file.display())))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(refuse(format!("the first line of {} is empty; write the password there", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SaslMechanism;

    fn sasl(dir: &Path, password: &str) -> KafkaOptions {
        let password_file = dir.join("password");
        std::fs::write(&password_file, password).expect("write");
        let sasl = SaslOptions { mechanism: SaslMechanism::ScramSha512, username: "beffroi".into(), password_file };
        KafkaOptions { sasl: Some(sasl), tls: Some(TlsOptions::default()), ..Default::default() }
    }

    #[test]
    fn tls_and_sasl_become_librdkafkas_settings() {
        let dir = tempfile::tempdir().expect("folder");
        let config = base(&sasl(dir.path(), "s3cret\n")).expect("config");
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("sasl.username"), Some("beffroi"));
        assert_eq!(config.get("sasl.password"), Some("s3cret"));
        assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("https"));
        assert!(!format!("{:?}", sasl(dir.path(), "s3cret")).contains("s3cret"));
        assert_eq!(base(&KafkaOptions::default()).expect("plain").get("security.protocol"), Some("plaintext"));
    }

    #[test]
    fn a_missing_file_is_refused_with_option_and_path() {
        let dir = tempfile::tempdir().expect("folder");
        let mut options = sasl(dir.path(), "\n");
        assert!(base(&options).expect_err("empty").to_string().contains("bus.sasl.password_file"));
        options.sasl = None;
        options.tls = Some(TlsOptions { ca: Some(dir.path().join("no-ca.pem")), ..Default::default() });
        let error = base(&options).expect_err("no file").to_string();
        assert!(error.contains("bus.tls.ca") && error.contains("no-ca.pem"), "{error}");
    }

    #[test]
    fn the_producer_neither_loses_nor_doubles() {
        let config = producer(&KafkaOptions::default()).expect("config");
        for (setting, value) in [("enable.idempotence", "true"), ("acks", "all"), ("compression.codec", "zstd")] {
            assert_eq!(config.get(setting), Some(value), "{setting}");
        }
    }

    #[test]
    fn control_is_kept_for_good_and_orders_as_long_as_certificates() {
        let options = KafkaOptions { topic_prefix: "b.".into(), ..Default::default() };
        let control = create_command(&options, Topic::Control);
        assert!(control.contains("--topic b.control.v1 --partitions 1 "), "{control}");
        assert!(control.contains("retention.ms=-1") && control.contains("LogAppendTime"), "{control}");
        assert!(create_command(&options, Topic::Orders).contains("retention.ms=2678400000"));
        assert!(create_command(&options, Topic::Events).contains("--partitions 48 "));
    }
}
