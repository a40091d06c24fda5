//! An API over a real bus and, where a test asks for it, a real engine; and people with tokens.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

#[path = "../../../store/tests/support/mod.rs"]
pub mod support;

pub mod orders;

use std::collections::BTreeMap;
use std::sync::Arc;

use beffroi_api::{Options, RateOptions, start};
use beffroi_bus::control::{Control, Outcome};
use beffroi_bus::{Bus, TailFrom, Topic};
use beffroi_schema::control::{AgentEnrolled, Change, TokenCreated};
use beffroi_schema::health::RoleHealth;
use beffroi_store::{Options as StoreOptions, Store};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::Agent;
use tokio_util::sync::CancellationToken;

/// A running API.
pub struct Api {
    pub url: String,
    /// The admin's token.
    pub token: String,
    pub client: reqwest::Client,
    pub control: Control,
    pub handle: beffroi_api::Handle,
    _folder: tempfile::TempDir,
}

/// Rates that no test reaches.
pub fn open_rates() -> RateOptions {
    RateOptions { address: 100_000, reads: 100_000, searches: 100_000, changes: 100_000 }
}

impl Api {
    pub async fn start(store: Store, bus: Bus, stop: CancellationToken) -> Self {
        Self::start_with(store, bus, stop, open_rates()).await
    }

    pub async fn start_with(store: Store, bus: Bus, stop: CancellationToken, rates: RateOptions) -> Self {
        support::provider();
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("api/admin.token");
        let options = Options { listen: "127.0.0.1:0".parse().unwrap(), token_file, rates, ..Options::default() };
        let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
        assert!(control.wait_ready().await);
        let roles =
            Arc::new(|| vec![RoleHealth::ready("store", "rows stand"), RoleHealth::not_ready("gateway", "a reason inside")]);
        let handle = start(options.clone(), store, bus, control.clone(), roles, stop).await.unwrap();
        let token = std::fs::read_to_string(&options.token_file).unwrap().trim().to_owned();
        let url = format!("http://{}", handle.address());
        Self { url, token, client: reqwest::Client::new(), control, handle, _folder: folder }
    }

    /// A call with a token; with none for an empty one.
    pub async fn as_token(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A call of the admin.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.as_token(&self.token, method, path, body.as_ref()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// A new personal token: its id and itself.
    pub async fn new_token(&self, name: &str, scope: &str, tenants: &[&str], seconds: i64) -> (String, String) {
        let body = json!({"name": name, "scope": scope, "tenants": tenants, "expires_seconds": seconds});
        let (status, made) = self.call(Method::POST, "/v1/tokens", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        (made["token_id"].as_str().unwrap().into(), made["token"].as_str().unwrap().into())
    }

    /// Lets a host be enrolled.
    pub async fn enroll(&self, agent: &Agent) {
        let token_id = format!("enroll-{}", agent.id());
        let token = TokenCreated {
            token_id: token_id.clone(),
            secret_hash: "0".repeat(64),
            tenant: agent.tenant.clone(),
            uses: 1,
            expires: support::now() + 600_000_000,
            cidrs: vec![],
            labels: BTreeMap::from([("site".to_owned(), format!("site-of-{}", agent.tenant))]),
        };
        let enrolled = AgentEnrolled {
            agent_id: agent.id(),
            public_key: agent.public_key(),
            tenant: agent.tenant.clone(),
            token_id,
            labels: BTreeMap::new(),
            host: agent.host.clone(),
            remote: "192.0.2.7".into(),
        };
        for change in [Change::TokenCreated(token), Change::AgentEnrolled(enrolled)] {
            assert_eq!(self.control.submit("enroll", change).await.unwrap(), Outcome::Won);
        }
    }
}

/// A bus and an API whose store is away.
pub async fn without_store() -> (Api, Bus, CancellationToken, tempfile::TempDir) {
    without_store_at(open_rates()).await
}

pub async fn without_store_at(rates: RateOptions) -> (Api, Bus, CancellationToken, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let bus = support::bus(folder.path()).await;
    let stop = CancellationToken::new();
    let store = Store::connect(&StoreOptions { url: "http://127.0.0.1:9".into(), ..StoreOptions::default() }).unwrap();
    (Api::start_with(store, bus.clone(), stop.clone(), rates).await, bus, stop, folder)
}

/// Every record of a topic, as JSON.
pub async fn records(bus: &Bus, topic: Topic) -> Vec<Value> {
    let mut tail = bus.tail(topic, TailFrom::Beginning).await.unwrap();
    let mut records = Vec::new();
    while !tail.caught_up().await.unwrap() {
        records.push(serde_json::from_slice(&tail.next().await.unwrap().value).unwrap());
    }
    records
}
