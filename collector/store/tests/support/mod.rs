//! A real engine in a process of its own, a real embedded bus in a folder, and agents that sign real batches.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Outgoing, Topic};
use beffroi_schema::alert::{Level, Match, MatchHost, RuleInfo};
use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record};
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, EventId, Field, Product, SigningKey, Stream, ids, wire};
use beffroi_store::{Handle, Options};
use tokio_util::sync::CancellationToken;

/// 2026-11-21 10:00:00 UTC.
pub const T0: i64 = 1_795_255_200_000_000;

pub struct Engine {
    child: Option<Child>,
    folder: tempfile::TempDir,
    listen: String,
}

/// The engine's program and library, or the reason why tests with it cannot run here.
fn parts() -> Result<PathBuf, String> {
    let exe = std::env::current_exe().unwrap();
    let program = exe.parent().and_then(Path::parent).unwrap().join("clickhouse-embedded");
    if !program.is_file() {
        return Err(format!("{} is not built (cargo build -p beffroi-clickhouse-embedded)", program.display()));
    }
    let cache = std::env::var_os("BEFFROI_CACHE").map(PathBuf::from).or_else(|| {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
            .map(|cache| cache.join("beffroi"))
    });
    let library = cache.into_iter().flat_map(std::fs::read_dir).flatten().flatten().map(|entry| entry.path().join("libchdb.so"));
    match library.into_iter().any(|library| library.is_file()) {
        true => Ok(program),
        false => Err("libchdb.so is not in the cache (packaging/setup/setup.sh run)".into()),
    }
}

impl Engine {
    /// Starts one; `None`, said loudly, where it cannot be had. `BEFFROI_REQUIRE_ENGINE=1` makes that a failure.
    pub fn start() -> Option<Self> {
        if let Err(why) = parts() {
            assert!(std::env::var_os("BEFFROI_REQUIRE_ENGINE").is_none(), "the engine is required: {why}");
            eprintln!("\n*** SKIPPED, this test proves nothing here: {why} ***\n");
            return None;
        }
        let mut engine = Self { child: None, folder: tempfile::tempdir().unwrap(), listen: "127.0.0.1:0".into() };
        std::fs::write(engine.secret(), "0123456789abcdef0123456789abcdef").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(engine.secret(), mode).unwrap();
        engine.restart();
        Some(engine)
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Starts it again, on the same port and data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none());
        let port_file = self.folder.path().join("port");
        let _absent = std::fs::remove_file(&port_file);
        let child = Command::new(parts().unwrap())
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .arg("--secret-file")
            .arg(self.secret())
            .arg("--port-file")
            .arg(&port_file)
            .args(["--listen", &self.listen, "--die-with-parent", "--max-memory-mib", "2048"])
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        let port = loop {
            match std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse::<u16>().ok()) {
                Some(port) => break port,
                None if Instant::now() > deadline => panic!("the engine did not start within 60 s"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        self.listen = format!("127.0.0.1:{port}");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn options(&self) -> Options {
        Options {
            url: format!("http://{}", self.listen),
            user: "beffroi".into(),
            password_file: Some(self.secret()),
            batch_ms: 50,
            ..Options::default()
        }
    }

    /// Runs a statement as a person at a terminal would.
    pub async fn sql(&self, statement: &str) -> String {
        provider();
        let request = reqwest::Client::new()
            .post(format!("http://{}/?database=beffroi", self.listen))
            .header("X-ClickHouse-User", "beffroi")
            .header("X-ClickHouse-Key", "0123456789abcdef0123456789abcdef")
            .body(statement.to_owned());
        let answer = request.send().await.unwrap();
        let good = answer.status().is_success();
        let text = answer.text().await.unwrap();
        assert!(good, "{statement}: {text}");
        text.trim().to_owned()
    }

    pub async fn number(&self, statement: &str) -> u64 {
        let text = self.sql(statement).await;
        text.parse().unwrap_or_else(|_| panic!("{statement}: {text:?} is no number"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Plain HTTP only, but the client wants to know who would do its cryptography.
pub fn provider() {
    let _done_before = rustls::crypto::ring::default_provider().install_default();
}

/// A bus in a folder.
pub async fn bus(folder: &Path) -> Bus {
    let options = EmbeddedOptions { dir: folder.to_owned(), partitions: 2, ..EmbeddedOptions::default() };
    Bus::open(BusOptions::Embedded(options)).await.unwrap()
}

/// A running store with what it needs.
pub struct Rig {
    pub bus: Bus,
    pub folder: tempfile::TempDir,
    pub handle: Option<Handle>,
    pub stop: CancellationToken,
    pub options: Options,
}

impl Rig {
    pub async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = bus(folder.path()).await;
        let mut rig = Self { bus, folder, handle: None, stop: CancellationToken::new(), options };
        rig.go();
        rig
    }

    pub fn go(&mut self) {
        self.stop = CancellationToken::new();
        self.handle = Some(beffroi_store::start(self.options.clone(), self.bus.clone(), self.stop.clone()).unwrap());
    }

    pub async fn halt(&mut self) {
        self.stop.cancel();
        if let Some(handle) = self.handle.take() {
            handle.join().await;
        }
    }

    pub fn store(&self) -> beffroi_store::Store {
        self.handle.as_ref().unwrap().store()
    }

    pub async fn ready(&self) {
        let handle = self.handle.as_ref().unwrap();
        until("the store is ready", || async { handle.health().ready }).await;
    }

    /// Waits until the group has done everything that is on the topic.
    pub async fn caught_up(&self, topic: Topic, group: &str) {
        let what = format!("{group} has read all of {topic}");
        let handle = self.handle.as_ref();
        until_told(
            &what,
            || format!("{:?}", handle.map(Handle::health)),
            || async {
                self.bus.lag(topic, group).await.unwrap().iter().all(|lag| lag.committed.unwrap_or(lag.first) >= lag.end)
            },
        )
        .await;
    }
}

/// Waits for a condition, 30 s at most.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    until_told(what, String::new, holds).await;
}

/// Waits for a condition, 30 s at most, and says more when it fails.
pub async fn until_told<F: Future<Output = bool>>(what: &str, more: impl Fn() -> String, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited 30 s in vain until {what} {}", more());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An agent that signs.
pub struct Agent {
    pub tenant: String,
    key: SigningKey,
    pub epoch: Epoch,
    pub host: HostInfo,
    heads: HashMap<Stream, (u64, BatchHash)>,
}

impl Agent {
    pub fn new(number: u8, tenant: &str) -> Self {
        Self {
            tenant: tenant.into(),
            key: SigningKey::from_bytes(&[number; 32]),
            epoch: Epoch::new(now() as u64, u64::from(number)),
            host: HostInfo { hostname: format!("host-{number}"), os: "Debian".into(), ..HostInfo::default() },
            heads: HashMap::new(),
        }
    }

    pub fn id(&self) -> AgentId {
        AgentId::of_public_key(&self.key.verifying_key().to_bytes())
    }

    /// Its identity key, hex.
    pub fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().to_bytes())
    }

    /// A signed batch of these records, numbered on.
    pub fn batch(&mut self, stream: Stream, records: Vec<Record>) -> Vec<u8> {
        let (last, hash) = self.heads.get(&stream).copied().unwrap_or_default();
        let (bytes, head, hash) = self.batch_from(stream, records, last + 1, hash);
        self.heads.insert(stream, (head, hash));
        bytes
    }

    /// Lets numbers pass without a batch.
    pub fn skip(&mut self, stream: Stream, count: u64) {
        self.heads.entry(stream).or_default().0 += count;
    }

    /// A signed batch that begins at this number.
    pub fn batch_from(
        &self,
        stream: Stream,
        mut records: Vec<Record>,
        first: u64,
        previous: BatchHash,
    ) -> (Vec<u8>, u64, BatchHash) {
        let mut builder = BatchBuilder::new(&self.host);
        for (record, seq) in records.iter_mut().zip(first..) {
            record.set_seq(seq);
            builder.push(record);
        }
        let last = first + records.len() as u64 - 1;
        let header = Header {
            tenant: self.tenant.clone(),
            agent: self.id(),
            epoch: self.epoch,
            stream,
            first,
            last,
            raw_size: 0,
            previous,
            schema_version: beffroi_schema::limits::SCHEMA_VERSION,
            public_key: self.key.verifying_key().to_bytes(),
        };
        let sealed = builder.seal(header, &self.key).unwrap();
        (sealed.bytes.to_vec(), last, sealed.hash)
    }

    /// Puts a batch onto the bus as the gateway does.
    pub async fn send(&self, bus: &Bus, batch: &[u8], received_at: i64) {
        send_as(bus, &self.tenant, &self.id().to_string(), batch, received_at).await;
    }
}

pub async fn send_as(bus: &Bus, tenant: &str, key: &str, batch: &[u8], received_at: i64) {
    let record = Outgoing::new(key.as_bytes(), batch.to_vec())
        .header(wire::HEADER_RECEIVED_AT, received_at.to_string())
        .header(wire::HEADER_TENANT, tenant)
        .header(wire::HEADER_REMOTE, "192.0.2.7");
    bus.publish(Topic::Events, record).await.unwrap();
}

/// The start of a process.
pub fn exec(ts: i64, image: &str, command_line: &str) -> Record {
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, ts);
    event.set(Field::IMAGE, image).set(Field::COMMAND_LINE, command_line).set(Field::USER, "alice");
    event.set(Field::PROCESS_ID, 7u64).set(Field::UID, 0u64);
    Record::Event(event)
}

pub fn execs(count: usize) -> Vec<Record> {
    (0..count).map(|n| exec(now(), "/usr/bin/id", &format!("id -u {n}"))).collect()
}

pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
}

/// A sign of life.
pub fn heartbeat(ts: i64, spool_oldest: i64, heads: Vec<(Stream, u64)>) -> Record {
    use beffroi_schema::batch::{Heartbeat, HookState, StreamHead};
    let head = |(stream, last_seq)| StreamHead { stream, last_seq, last_hash: BatchHash::default() };
    Record::Heartbeat(Heartbeat {
        seq: 0,
        ts,
        heads: heads.into_iter().map(head).collect(),
        hooks: vec![HookState { name: "exec".into(), on: true, why: String::new(), seen: 9, dropped: 2 }],
        counters: vec![("ring_dropped".into(), 2)],
        spool_bytes: 5,
        spool_oldest,
        cpu_us: 1,
        rss_bytes: 2,
        policy_version: 0,
    })
}

/// A match of a rule on one event.
pub fn found(tenant: &str, agent: AgentId, rule: &str, seq: u64, event_time: i64) -> Match {
    let id = EventId { agent, epoch: Epoch::new(1, 1), stream: Stream::Exec, seq };
    let group_key = format!("{tenant}/{rule}/{agent}");
    Match {
        match_id: ids::match_id(tenant, rule, &[id]),
        alert_id: ids::alert_id(tenant, &group_key, 0),
        group_key,
        bucket: 0,
        tenant: tenant.into(),
        host: MatchHost { agent_id: agent, info: Default::default(), remote: String::new(), labels: Default::default() },
        rule: RuleInfo {
            id: rule.into(),
            title: format!("Title of {rule}"),
            version: String::new(),
            sha256: String::new(),
            level: Level::High,
            author: "us".into(),
            description: String::new(),
            response: String::new(),
            references: vec![],
            false_positives: vec![],
            tags: vec![],
            attack: vec![],
            license: String::new(),
        },
        event_time,
        received_at: event_time,
        detected_at: event_time + 5,
        clock_suspect: false,
        replayed: false,
        event_ids: vec![id],
        category: "process_creation".into(),
        user: "alice".into(),
        login_user: String::new(),
        image: "/bin/sh".into(),
        command_line: "sh -c id".into(),
        what: "a shell".into(),
        process_guid: String::new(),
        matched_selections: vec!["selection".into()],
        matched_fields: vec![],
        chain: vec![],
        events: vec![],
        ruleset: String::new(),
        engine: "test".into(),
    }
}

/// A match as the detector publishes it.
pub fn outgoing(found: &Match) -> Outgoing {
    Outgoing::new(found.match_id.to_string(), serde_json::to_vec(found).unwrap())
}

/// [`found`] and [`outgoing`] in one.
pub fn alert(tenant: &str, agent: AgentId, rule: &str, seq: u64, event_time: i64) -> Outgoing {
    outgoing(&found(tenant, agent, rule, seq, event_time))
}
