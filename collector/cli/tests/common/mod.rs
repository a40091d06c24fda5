//! A stub of the API on loopback, and the terminal run against it. Each connection carries one call.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a stub that cannot work must end its test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A call as the stub saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub token: String,
    pub reason: String,
    pub body: Value,
}

pub type Answer = dyn Fn(&Call) -> (u16, Value) + Send + Sync;

/// The stub, and a home for the terminal with a configuration that names it.
pub struct Stub {
    pub address: String,
    pub home: TempDir,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Stub {
    /// A stub that answers every call with `answer`.
    pub fn new(answer: impl Fn(&Call) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (known, answer): (_, Arc<Answer>) = (Arc::clone(&calls), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (known, answer) = (Arc::clone(&known), Arc::clone(&answer));
                std::thread::spawn(move || serve(connection, &known, answer.as_ref()));
            }
        });
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let config = format!("api = \"http://{address}\"\ntoken_file = {:?}\n", home.path().join("token"));
        std::fs::write(home.path().join("config.toml"), config).unwrap();
        Self { address, home, calls }
    }

    /// A stub that gives one answer to everything.
    pub fn saying(answer: Value) -> Self {
        Self::new(move |_| (200, answer.clone()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `beffroi` in this home, with no other configuration in reach.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = beffroi(arguments);
        command.env("HOME", self.home.path()).env("BEFFROI_CONFIG", self.path("config.toml"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Adds a line to the configuration.
    pub fn configure(&self, line: &str) {
        let path = self.path("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{text}{line}\n")).unwrap();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

pub fn beffroi(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub talk: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self { code: status.code(), out: String::from_utf8(stdout).unwrap(), talk: String::from_utf8(stderr).unwrap() }
    }
}

fn serve(connection: TcpStream, calls: &Mutex<Vec<Call>>, answer: &Answer) {
    serve_on(connection, calls, answer);
}

/// One call over whatever carries it.
pub fn serve_on(connection: impl Read + Write, calls: &Mutex<Vec<Call>>, answer: &Answer) {
    let mut reader = BufReader::new(connection);
    let Some(call) = read_call(&mut reader) else { return };
    calls.lock().unwrap().push(call.clone());
    let (status, body) = answer(&call);
    // How long a refusal asks to wait stands in its body, for the test that makes it.
    let retry = body["retry_after"].as_u64().map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n",
        body.len()
    );
    // The terminal may have gone; that is for its test to judge.
    let mut connection = reader.into_inner();
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).and_then(|()| connection.flush());
}

fn read_call(reader: &mut impl BufRead) -> Option<Call> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (mut length, mut token, mut reason) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => token = value.to_owned(),
            "x-beffroi-reason" => reason = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
    Some(Call { method, path: path.into(), query: query.into(), token, reason, body })
}

/// An alert as the API lists it.
pub fn alert(id: &str, what: &str) -> Value {
    json!({"alert_id": id, "level": "high", "tenant": "interieur", "rule_id": "r-1", "rule_title": "Java starts a shell",
        "hostname": "app-07", "agent_id": "aabbccddeeff00112233445566778899", "user": "tomcat", "what": what, "count": 2,
        "first_seen": "2026-11-21T10:00:00.000001Z", "last_seen": "2026-11-21T10:00:01.000000Z",
        "event_time": "2026-11-21T10:00:01.000000Z", "received_at": "2026-11-21T10:00:01.100000Z",
        "detected_at": "2026-11-21T10:00:01.200000Z", "stored_at": "2026-11-21T10:00:01.300000Z", "replayed": false})
}

/// A host as the API shows it.
pub fn host(name: &str) -> Value {
    json!({"tenant": "interieur", "agent_id": "aabbccddeeff00112233445566778899", "hostname": name, "os": "Debian GNU/Linux 12",
        "kernel": "6.1.0", "architecture": "x86_64", "agent_version": "0.1.0", "boot_id": "b", "addresses": ["10.0.0.7"],
        "remote": "192.0.2.7", "epoch": "00", "last_seen": "2026-11-21T10:00:00.000000Z", "last_heartbeat": "",
        "spool_bytes": 4096, "spool_oldest": "", "cpu_us": 1, "rss_bytes": 1048576, "policy_version": 0, "dropped": 3,
        "hooks": [{"name": "exec", "on": true, "why": "", "seen": 10, "dropped": 3}], "counters": {"scanned": 4},
        "labels": {"site": "lyon"}, "enrolled": "2026-11-20T10:00:00.000000Z",
        "certificate_expires": "2026-11-27T10:00:00.000000Z",
        "revoked": {"at": "2026-11-21T11:00:00.000000Z", "by": "admin", "reason": "stolen"}})
}

/// A gap as the API lists it.
pub fn gap(reason: &str) -> Value {
    json!({"tenant": "interieur", "agent_id": "aabbccddeeff00112233445566778899", "hostname": "app-07", "stream": 1,
        "reason": reason, "hook": "exec", "lost": 3, "from": "2026-11-21T10:00:00.000000Z", "to": "2026-11-21T10:00:05.000000Z",
        "first_seq": 0, "last_seq": 0, "received_at": "2026-11-21T10:00:06.000000Z"})
}
