//! A gateway on a loopback port over an embedded bus in a temporary folder.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; tests may panic

use std::net::SocketAddr;
use std::time::Duration;

use beffroi_bus::control::{Control, Outcome};
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Record, TailFrom, Topic};
use beffroi_gateway::testing::{FakeAgent, Refused, token};
use beffroi_gateway::{Handle, Options, Roles};
use beffroi_schema::control::Change;
use beffroi_schema::session::CertificateResponse;
use tokio_util::sync::CancellationToken;

pub const TENANT: &str = "interieur";

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub bus: Bus,
    pub control: Control,
    pub gateway: Handle,
    pub shutdown: CancellationToken,
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with(Roles::ALL, |_| {}).await
    }

    pub async fn start_with(roles: Roles, tweak: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let embedded = EmbeddedOptions { dir: dir.path().join("bus"), ..Default::default() };
        let bus = Bus::open(BusOptions::Embedded(embedded)).await.unwrap();
        let shutdown = CancellationToken::new();
        let control = Control::start(bus.clone(), shutdown.clone()).await.unwrap();
        assert!(control.wait_ready().await);
        let mut options = Options { listen: ([127, 0, 0, 1], 0).into(), pki: dir.path().join("pki"), ..Default::default() };
        tweak(&mut options);
        let gateway = beffroi_gateway::start(options, roles, bus.clone(), control.clone(), shutdown.clone()).await.unwrap();
        let rig = Self { dir, bus, control, gateway, shutdown };
        rig.submit(Change::TokenCreated(token("t1", TENANT, 100))).await;
        rig
    }

    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub fn ca(&self) -> &str {
        self.gateway.ca_pem()
    }

    pub async fn submit(&self, change: Change) {
        assert_eq!(self.control.submit("test", change).await.unwrap(), Outcome::Won);
    }

    pub async fn enroll(&self, agent: &FakeAgent) -> CertificateResponse {
        agent.enroll(self.address(), self.ca(), "t1").await.unwrap()
    }

    /// An enrolled agent and its client.
    pub async fn enrolled(&self, seed: u8) -> (FakeAgent, reqwest::Client) {
        let agent = FakeAgent::new(seed);
        let certificate = self.enroll(&agent).await.certificate;
        let client = agent.client(self.ca(), &certificate);
        (agent, client)
    }

    pub async fn send(&self, client: &reqwest::Client, batch: Vec<u8>) -> Result<(), Refused> {
        beffroi_gateway::testing::post_batch(client, self.address(), batch).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address())
    }

    /// Everything in the events topic.
    pub async fn published(&self) -> Vec<Record> {
        let mut tail = self.bus.tail(Topic::Events, TailFrom::Beginning).await.unwrap();
        let mut records = Vec::new();
        while !tail.caught_up().await.unwrap() {
            records.push(tail.next().await.unwrap());
        }
        records
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.gateway.join()).await.expect("the gateway ends on shutdown");
    }
}

pub fn now_us() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
