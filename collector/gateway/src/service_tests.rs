//! The gateway as a running service: memory stays bounded when the bus hangs, also when agents hang up.

use std::sync::atomic::{AtomicUsize, Ordering};

use beffroi_bus::{BusError, BusOptions, EmbeddedOptions, Outgoing};
use beffroi_schema::limits::MAX_BATCH_BYTES;
use futures::future::BoxFuture;

use super::*;
use crate::testing::{FakeAgent, post_batch, token_created};

/// A bus that takes everything and never answers.
#[derive(Default)]
struct Hanging {
    held: Arc<AtomicUsize>,
}

impl EventSink for Hanging {
    fn publish(&self, record: Outgoing) -> BoxFuture<'static, Result<(), BusError>> {
        self.held.fetch_add(record.value.len(), Ordering::SeqCst);
        Box::pin(async move {
            let _record = record;
            std::future::pending().await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_while_the_bus_hangs_also_when_agents_hang_up() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedOptions { dir: dir.path().join("bus"), ..Default::default() };
    let bus = Bus::open(BusOptions::Embedded(embedded)).await.unwrap();
    let shutdown = CancellationToken::new();
    let control = Control::start(bus.clone(), shutdown.clone()).await.unwrap();
    assert!(control.wait_ready().await);
    control.submit("test", token_created("t1", "t", 9)).await.unwrap();
    let sink = Hanging::default();
    let held = sink.held.clone();
    let mut options = Options { listen: ([127, 0, 0, 1], 0).into(), pki: dir.path().join("pki"), ..Default::default() };
    options.limits.in_flight_bytes = 3 * MAX_BATCH_BYTES;
    let gateway = start_with(options, Roles::ALL, bus, Arc::new(sink), control, shutdown.clone()).await.unwrap();
    let (address, ca) = (gateway.address(), gateway.ca_pem().to_string());
    let mut codes = Vec::new();
    for seed in 1..=3 {
        let agent = FakeAgent::new(seed);
        let certificate = agent.enroll(address, &ca, "t1").await.unwrap().certificate;
        let client = agent.client(&ca, &certificate);
        let batch = agent.batch("t", 1, 500_000).bytes;
        for _ in 0..3 {
            // An agent that gives up after a moment must not make room for more.
            let sent = post_batch(&client, address, batch.clone());
            match tokio::time::timeout(Duration::from_secs(2), sent).await {
                Ok(answer) => codes.push(answer.unwrap_err()),
                Err(_gave_up) => {}
            }
        }
    }
    assert!(held.load(Ordering::SeqCst) <= 3 * MAX_BATCH_BYTES, "{} bytes are held", held.load(Ordering::SeqCst));
    assert!(codes.len() >= 3, "{codes:?}");
    assert!(
        codes.iter().all(|refused| (refused.status, refused.body.code.as_str(), refused.retry_after) == (503, "busy", Some(5)))
    );
    shutdown.cancel();
}
