//! Starts the real engine for the tests. A machine without the engine's library skips them, loudly.
#![allow(dead_code, missing_docs, reason = "each test program uses a part")]

use std::path::PathBuf;

use beffroi_clickhouse_embedded::{Config, Embedded, default_library};

/// Whether the library is in the cache; says how to get it when not.
pub fn engine_is_here() -> bool {
    let here = default_library().is_some_and(|library| library.is_file());
    if !here {
        eprintln!("SKIPPED: libchdb.so is not in the cache; fetch it with packaging/setup/setup.sh test");
    }
    here
}

/// A running server in a folder of its own.
pub struct Server {
    pub embedded: Embedded,
    pub data: PathBuf,
    pub folder: tempfile::TempDir,
    http: reqwest::Client,
}

/// Configuration for the binary under test.
pub fn config(data: PathBuf, arguments: &[&str]) -> Config {
    let mut config = Config::new(data);
    config.binary = Some(PathBuf::from(env!("CARGO_BIN_EXE_clickhouse-embedded")));
    config.arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
    config
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        if !engine_is_here() {
            return None;
        }
        // The test client needs a TLS provider to exist, though all of this is plain HTTP; another test may have won.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Some(Self::over(tempfile::tempdir().unwrap(), arguments).await)
    }

    /// A server over what an earlier one left in this folder.
    pub async fn over(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let data = folder.path().join("data");
        let embedded = Embedded::spawn(config(data.clone(), arguments)).await.unwrap();
        Self { embedded, data, folder, http: reqwest::Client::new() }
    }

    /// The official client.
    pub fn client(&self) -> clickhouse::Client {
        clickhouse::Client::default()
            .with_url(self.embedded.url())
            .with_user(self.embedded.user())
            .with_password(self.embedded.key())
    }

    /// A POST with the right key.
    pub fn post(&self, arguments: &[(&str, &str)], body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.with_key(self.http.post(self.embedded.url()).query(arguments).body(body))
    }

    /// A GET with the right key.
    pub fn get(&self, arguments: &[(&str, &str)]) -> reqwest::RequestBuilder {
        self.with_key(self.http.get(self.embedded.url()).query(arguments))
    }

    /// A request without any key.
    pub fn bare(&self) -> reqwest::RequestBuilder {
        self.http.get(format!("{}/ping", self.embedded.url()))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header("X-ClickHouse-User", self.embedded.user()).header("X-ClickHouse-Key", self.embedded.key())
    }

    /// Runs a statement that must succeed and returns its text.
    pub async fn run(&self, sql: &str) -> String {
        let answer = Answer::of(self.post(&[], sql.to_owned())).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text);
        answer.text
    }

    /// Runs a statement that must fail and returns the answer.
    pub async fn refused(&self, sql: &str) -> Answer {
        let answer = Answer::of(self.post(&[], sql.to_owned())).await;
        assert_ne!(answer.status, 200, "{sql} gave: {}", answer.text);
        answer
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub code: Option<u32>,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let code = headers.get("x-clickhouse-exception-code").map(|c| c.to_str().unwrap().parse().unwrap());
        let text = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        Self { status, code, headers, text }
    }
}
