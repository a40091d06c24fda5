//! Rule texts over the wire: whoever an order is for gets its rules byte for byte, everybody else a 404.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use std::time::Duration;

use beffroi_bus::{Outgoing, Topic};
use beffroi_gateway::testing::{refused, stranger};
use beffroi_schema::down::{self, OperatorKey, Order, ScanOrder, SignedKind, Target, order::Action};
use beffroi_schema::{SigningKey, wire};
use common::{Rig, TENANT, now_us};
use prost::Message;
use sha2::{Digest, Sha256};

const RULE: &[u8] = b"rule marker { condition: true }\n\xff";

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_the_rules_of_its_orders_and_nobody_else_does() {
    let rig = Rig::start().await;
    let (asked, client) = rig.enrolled(1).await;
    let (_, neighbour) = rig.enrolled(2).await;
    let hash = Sha256::digest(RULE);
    let blob = Outgoing::new(hex::encode(hash), RULE).header(wire::HEADER_CONTENT_TYPE, wire::CONTENT_TYPE_BLOB);
    rig.bus.publish(Topic::Orders, blob).await.unwrap();
    let target = Target { tenant: TENANT.into(), agent_ids: vec![asked.id().0.to_vec()], whole_tenant: false };
    let action = Some(Action::Scan(ScanOrder { rules_sha256: vec![hash.to_vec()], ..Default::default() }));
    let expires = now_us() + 600_000_000;
    let order = Order { order_id: vec![1; 16], target: Some(target), expires, action, ..Default::default() };
    let key = OperatorKey::from_ed25519(SigningKey::from_bytes(&[5; 32]));
    let envelope = down::sign(SignedKind::Order, &order, &key, Vec::new()).unwrap().encode_to_vec();
    rig.bus.publish(Topic::Orders, Outgoing::new("01".repeat(16), envelope)).await.unwrap();
    // The poll answers when the gateway has read the order; its rules stood before it.
    let poll = client.get(rig.url(&format!("{}?wait=20", wire::PATH_ORDERS))).timeout(Duration::from_secs(30));
    let answer: beffroi_schema::session::OrdersResponse = poll.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer.orders.len(), 1);
    let url = |hash: &str| rig.url(&format!("{}/{hash}", wire::PATH_BLOBS));
    let text = client.get(url(&hex::encode(hash))).send().await.unwrap();
    assert_eq!(text.status().as_u16(), 200);
    assert_eq!(text.headers()["content-type"], wire::CONTENT_TYPE_BLOB);
    assert_eq!(text.bytes().await.unwrap(), RULE);
    for (who, name) in
        [(&neighbour, hex::encode(hash)), (&client, "00".repeat(32)), (&client, "..%2f".into()), (&client, "x".repeat(3_000))]
    {
        let refusal = refused(who.get(url(&name)).send().await.unwrap()).await;
        assert_eq!((refusal.status, refusal.body.code.as_str()), (404, "blob_unknown"), "{name}");
    }
    assert_eq!(stranger(rig.ca()).get(url(&hex::encode(hash))).send().await.unwrap().status(), 401);
    rig.stop().await;
}
