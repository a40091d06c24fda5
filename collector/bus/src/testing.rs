//! A real Apache Kafka for tests: one node in KRaft mode on loopback, in its own temporary folder.
//!
//! Needs `java` on PATH and the jars of `org.apache.kafka:kafka_2.13:4.1.0` in
//! `${BEFFROI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/beffroi}/kafka-4.1.0/`, where `make test` puts them. When one of
//! them is absent, [`KafkaFixture::start`] returns [`Absent`], which says so: a test prints it and skips. A broker that is there but does
//! not start is an error, never a skip. Dropping the fixture kills the broker by its pid and removes the folder; should
//! the test process die instead, a guard does it.
//!
//! Besides a plain listener it has one with SASL PLAIN, and with [`KafkaFixture::start_secure`] three with TLS: one that wants a
//! client certificate, one that wants SCRAM, and one whose own certificate is the caller's choice (an expired one, say). The
//! certificates are the caller's, because making them is no business of the bus.
//!
//! This module is for tests only; nothing in the product calls it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::options::KafkaOptions;

/// Version of Kafka that the tests run.
pub const KAFKA_VERSION: &str = "4.1.0";
/// User of the SASL listener.
pub const SASL_USER: &str = "beffroi";
/// Password of the SASL listener.
pub const SASL_PASSWORD: &str = "beffroi-test-only";
/// How long a broker may take to answer: a cold JVM on two busy cores.
const START_WAIT: Duration = Duration::from_secs(120);
/// How often a start is tried when a port was taken between choosing and binding it.
const START_TRIES: u32 = 3;
/// Any id of the right form; every fixture has its own folder.
const CLUSTER_ID: &str = "YmVmZnJvaS10ZXN0LTAwMQ";

/// Certificates of the TLS listeners, PEM.
#[derive(Debug, Clone)]
pub struct ListenerCertificates {
    /// Private key (PKCS#8) and certificate of the listeners that are well.
    pub identity: String,
    /// The same of the listener that is not.
    pub unfit_identity: String,
    /// The authorities that sign clients' certificates.
    pub clients_ca: String,
}

/// Why no broker could be tried at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SKIPPED: no Kafka for this test: {0}")]
pub struct Absent(String);

/// A running broker.
#[derive(Debug)]
pub struct KafkaFixture {
    child: Option<Child>,
    /// Kills the broker and removes the folder should this process end without dropping the fixture.
    guard: Option<Child>,
    dir: PathBuf,
    jars: OsString,
    ports: Ports,
    certificates: Option<ListenerCertificates>,
}

/// Ports that were free a moment ago.
#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    controller: u16,
    sasl: u16,
    tls: u16,
    scram: u16,
    unfit: u16,
}

impl KafkaFixture {
    /// Starts a broker and waits until it answers. Blocks for some seconds.
    ///
    /// # Errors
    /// [`Absent`] when Java or the jars are not there.
    ///
    /// # Panics
    /// When the broker does not come up; the message holds its output.
    pub fn start() -> Result<Self, Absent> {
        Self::start_any(None)
    }

    /// As [`KafkaFixture::start`], with the TLS listeners.
    ///
    /// # Errors
    /// [`Absent`] when Java or the jars are not there.
    ///
    /// # Panics
    /// When the broker does not come up; the message holds its output.
    pub fn start_secure(certificates: ListenerCertificates) -> Result<Self, Absent> {
        Self::start_any(Some(certificates))
    }

    fn start_any(certificates: Option<ListenerCertificates>) -> Result<Self, Absent> {
        let jars = jars()?;
        let mut last = String::new();
        for _ in 0..START_TRIES {
            match Self::try_start(&jars, certificates.clone()) {
                Ok(fixture) => return Ok(fixture),
                Err(output) => last = output,
            }
        }
        panic!("Kafka did not start; its last output:\n{last}");
    }

    /// As [`KafkaFixture::start`], but prints the reason and returns `None` when there is nothing to start.
    pub fn start_or_skip() -> Option<Self> {
        match Self::start() {
            Ok(fixture) => Some(fixture),
            Err(absent) => {
                eprintln!("{absent}");
                None
            }
        }
    }

    /// Address of the plain listener.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Address of the listener that wants SASL PLAIN with [`SASL_USER`] and [`SASL_PASSWORD`].
    pub fn sasl_broker(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// Address of the listener that wants a client certificate. The host is a name, which certificates can hold.
    pub fn tls_broker(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// Address of the TLS listener that wants SCRAM-SHA-512 with [`SASL_USER`] and [`SASL_PASSWORD`].
    pub fn scram_broker(&self) -> String {
        format!("localhost:{}", self.ports.scram)
    }

    /// Address of the TLS listener with the unfit certificate.
    pub fn unfit_broker(&self) -> String {
        format!("localhost:{}", self.ports.unfit)
    }

    /// Options of a bus on this broker, with few partitions and a prefix of its own.
    pub fn options(&self, topic_prefix: &str) -> KafkaOptions {
        KafkaOptions { brokers: vec![self.broker()], topic_prefix: topic_prefix.into(), partitions: 4, ..KafkaOptions::default() }
    }

    /// Process id of the broker, for tests that stop or kill it.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the broker (SIGKILL) and waits for its end. Its data stays until the fixture is dropped.
    pub fn kill(&mut self) {
        // The guard first: it must not outlive the broker and kill whoever has its pid then.
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a killed broker again on the same ports and data.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(output) = self.run() {
            panic!("Kafka did not start again; its last output:\n{output}");
        }
    }

    fn try_start(jars: &OsString, certificates: Option<ListenerCertificates>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("beffroi-kafka-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
        let ports = free_ports().map_err(|e| format!("no free port: {e}"))?;
        let mut fixture = Self { child: None, guard: None, dir, jars: jars.clone(), ports, certificates };
        fixture.write_files().map_err(|e| format!("cannot write the settings: {e}"))?;
        fixture.format()?;
        fixture.run()?;
        Ok(fixture)
    }

    fn config(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn write_files(&self) -> std::io::Result<()> {
        let mut settings = self.broker_settings();
        if let Some(certificates) = &self.certificates {
            std::fs::write(self.dir.join("identity.pem"), &certificates.identity)?;
            std::fs::write(self.dir.join("unfit.pem"), &certificates.unfit_identity)?;
            std::fs::write(self.dir.join("clients-ca.pem"), &certificates.clients_ca)?;
            settings.extend(self.tls_settings());
        }
        let text = settings.into_iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}");
            text
        });
        std::fs::write(self.config(), text)
    }

    /// Listeners by name and protocol.
    fn listeners(&self) -> Vec<(&'static str, &'static str, String)> {
        let Ports { plain, sasl, tls, scram, unfit, .. } = self.ports;
        let mut listeners = vec![
            ("PLAINTEXT", "PLAINTEXT", format!("127.0.0.1:{plain}")),
            ("SASL", "SASL_PLAINTEXT", format!("127.0.0.1:{sasl}")),
        ];
        if self.certificates.is_some() {
            listeners.push(("TLS", "SSL", format!("localhost:{tls}")));
            listeners.push(("SCRAM", "SASL_SSL", format!("localhost:{scram}")));
            listeners.push(("UNFIT", "SSL", format!("localhost:{unfit}")));
        }
        listeners
    }

    fn broker_settings(&self) -> Vec<(String, String)> {
        let controller = format!("127.0.0.1:{}", self.ports.controller);
        let listeners = self.listeners();
        let advertised: Vec<String> = listeners.iter().map(|(name, _, address)| format!("{name}://{address}")).collect();
        let advertised = advertised.join(",");
        let protocols: String = listeners.iter().map(|(name, protocol, _)| format!(",{name}:{protocol}")).collect();
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let settings = [
            ("process.roles", "broker,controller".into()),
            ("node.id", "1".into()),
            ("listeners", format!("{advertised},CONTROLLER://{controller}")),
            ("advertised.listeners", advertised),
            ("controller.listener.names", "CONTROLLER".into()),
            ("controller.quorum.voters", format!("1@{controller}")),
            ("listener.security.protocol.map", format!("CONTROLLER:PLAINTEXT{protocols}")),
            ("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN".into()),
            ("listener.name.sasl.plain.sasl.jaas.config", format!("{jaas} user_{SASL_USER}=\"{SASL_PASSWORD}\";")),
            ("log.dirs", self.dir.join("data").to_string_lossy().into_owned()),
            ("auto.create.topics.enable", "false".into()),
            ("num.partitions", "1".into()),
            ("offsets.topic.num.partitions", "4".into()),
            ("offsets.topic.replication.factor", "1".into()),
            ("transaction.state.log.replication.factor", "1".into()),
            ("transaction.state.log.min.isr", "1".into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
        ];
        settings.map(|(name, value): (&str, String)| (name.to_owned(), value)).to_vec()
    }

    fn tls_settings(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let mut settings = Vec::new();
        for (listener, identity, client_auth) in
            [("tls", "identity.pem", "required"), ("scram", "identity.pem", "none"), ("unfit", "unfit.pem", "none")]
        {
            let mut set = |name: &str, value: String| settings.push((format!("listener.name.{listener}.{name}"), value));
            set("ssl.keystore.type", "PEM".into());
            set("ssl.keystore.location", file(identity));
            set("ssl.truststore.type", "PEM".into());
            set("ssl.truststore.location", file("clients-ca.pem"));
            set("ssl.client.auth", client_auth.into());
        }
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        settings.push(("listener.name.scram.sasl.enabled.mechanisms".into(), "SCRAM-SHA-512".into()));
        settings.push(("listener.name.scram.scram-sha-512.sasl.jaas.config".into(), module.into()));
        settings
    }

    fn java(&self, heap: &str) -> Command {
        let mut command = Command::new("java");
        command.arg(heap).arg("-XX:+UseSerialGC").arg("-cp").arg(&self.jars).stdin(Stdio::null());
        command
    }

    /// Prepares the data folder.
    fn format(&self) -> Result<(), String> {
        let mut command = self.java("-Xmx128m");
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(self.config());
        // SCRAM's users are records of the cluster, not settings.
        command.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]"));
        let output = command.output().map_err(|e| format!("cannot run java: {e}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Starts the broker and waits until it answers; its output when it does not.
    fn run(&mut self) -> Result<(), String> {
        let log = std::fs::File::create(self.dir.join("output.log")).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = self.java("-Xmx512m");
        command.arg("kafka.Kafka").arg(self.config()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|e| format!("cannot run java: {e}"))?;
        let pid = child.id();
        self.child = Some(child);
        self.guard = Some(self.guard_of(pid).map_err(|e| format!("cannot run sh: {e}"))?);
        self.wait_until_it_answers()
    }

    /// A shell that waits for its input to close, which happens however this process ends.
    fn guard_of(&self, pid: u32) -> std::io::Result<Child> {
        let script = r#"cat >/dev/null; kill -9 "$1"; rm -rf "$2""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "kafka-guard", &pid.to_string()]).arg(&self.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker())
            .set("reconnect.backoff.max.ms", "500")
            .set("log_level", "0")
            .create()
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + START_WAIT;
        loop {
            // Waits inside until a broker answers, so this is no busy loop.
            if client.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                return Ok(());
            }
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                self.kill();
                return Err(std::fs::read_to_string(self.dir.join("output.log")).unwrap_or_default());
            }
        }
    }
}

impl Drop for KafkaFixture {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The class path, if Java and the jars are there.
fn jars() -> Result<OsString, Absent> {
    let runs = Command::new("java").arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        return Err(Absent("java is not on PATH; install a Java 17 runtime".into()));
    }
    let dir =
        cache().ok_or_else(|| Absent("neither BEFFROI_CACHE nor HOME is set".into()))?.join(format!("kafka-{KAFKA_VERSION}"));
    let has_broker = |dir: &Path| dir.join(format!("kafka_2.13-{KAFKA_VERSION}.jar")).is_file();
    match has_broker(&dir) {
        true => Ok(dir.join("*").into_os_string()),
        false => Err(Absent(format!("its jars are not in {}; `make test` puts them there", dir.display()))),
    }
}

/// The cache folder of the project.
fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("BEFFROI_CACHE").or_else(|| Some(of_user()?.join("beffroi")))
}

/// Ports that were free a moment ago, all different.
fn free_ports() -> std::io::Result<Ports> {
    // All are held until the last one is chosen.
    let held = (0..6).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<Vec<_>>>()?;
    let mut ports = [0; 6];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    let [plain, controller, sasl, tls, scram, unfit] = ports;
    Ok(Ports { plain, controller, sasl, tls, scram, unfit })
}
