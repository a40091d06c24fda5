//! What the relay of signed orders hands out, to whom, and what it forgets.

use beffroi_schema::SigningKey;

use super::*;

const NOW: i64 = 1_000_000;

fn operator() -> down::OperatorKey {
    down::OperatorKey::from_ed25519(SigningKey::from_bytes(&[5; 32]))
}

fn identity(tenant: &str, agent: u8) -> Identity {
    Identity { tenant: tenant.into(), agent: AgentId([agent; 16]), not_after: i64::MAX }
}

fn envelope(tenant: &str, hosts: &[u8], expires: i64) -> Vec<u8> {
    let target = Target {
        tenant: tenant.into(),
        agent_ids: hosts.iter().map(|host| vec![*host; 16]).collect(),
        whole_tenant: hosts.is_empty(),
    };
    let order = Order { order_id: vec![1; 16], target: Some(target), expires, ..Default::default() };
    down::sign(SignedKind::Order, &order, &operator(), Vec::new()).unwrap().encode_to_vec()
}

fn record(offset: i64, value: Vec<u8>) -> Record {
    Record { topic: Topic::Orders, partition: 0, offset, timestamp: 0, key: Bytes::new(), headers: vec![], value: value.into() }
}

fn orders(records: Vec<Vec<u8>>) -> Orders {
    let orders = Orders::new("topic");
    for (offset, value) in records.into_iter().enumerate() {
        orders.take(&record(offset as i64, value), NOW);
    }
    orders
}

#[test]
fn a_host_gets_what_names_it_or_its_tenant_verbatim_and_nothing_else() {
    let sent =
        [envelope("a", &[], 9 * NOW), envelope("a", &[1, 2], 9 * NOW), envelope("b", &[], 9 * NOW), envelope("b", &[1], 9 * NOW)];
    let orders = orders(sent.to_vec());
    let found = |tenant, agent| orders.after(&identity(tenant, agent), -1, NOW).1;
    assert_eq!(found("a", 1), [sent[0].clone(), sent[1].clone()]);
    assert_eq!(found("a", 3), [sent[0].clone()]);
    assert_eq!(found("b", 1), [sent[2].clone(), sent[3].clone()]);
    assert!(found("c", 1).is_empty());
}

#[test]
fn expired_and_unreadable_envelopes_are_not_handed_down_and_do_not_stop_the_others() {
    let kindless = down::Signed { kind: 99, ..Default::default() }.encode_to_vec();
    let orders = orders(vec![envelope("a", &[], NOW), b"garbage".to_vec(), kindless, envelope("a", &[], 2 * NOW)]);
    let (next, found) = orders.after(&identity("a", 1), -1, NOW);
    assert_eq!((next, found.len()), (3, 1));
    assert!(orders.after(&identity("a", 1), -1, 2 * NOW).1.is_empty(), "expired meanwhile");
}

#[test]
fn a_revocation_goes_to_every_host_for_as_long_as_a_certificate_that_it_stops_may_be_good() {
    let revocation = Revocation { version: 1, issued: NOW, key_ids: vec![vec![7; 32]] };
    let sent = down::sign(SignedKind::Revocation, &revocation, &operator(), Vec::new()).unwrap().encode_to_vec();
    let orders = orders(vec![sent.clone()]);
    let found = |tenant, now| orders.after(&identity(tenant, 1), -1, now).1;
    assert!(found("a", NOW) == [sent.clone()] && found("b", NOW + MAX_OPERATOR_CERTIFICATE_US) == [sent]);
    assert!(found("a", NOW + MAX_OPERATOR_CERTIFICATE_US + MAX_CLOCK_SKEW_US).is_empty());
}

#[test]
fn a_cursor_goes_on_where_it_was_and_a_foreign_one_starts_at_the_beginning() {
    let orders = orders(vec![envelope("a", &[], 9 * NOW), envelope("a", &[], 9 * NOW)]);
    assert_eq!(orders.offset(&orders.cursor(7)), 7);
    for foreign in ["", "7", "zz-7", &Orders::new("other").cursor(7), &format!("{}-x", orders.topic)] {
        assert_eq!(orders.offset(foreign), -1, "{foreign}");
    }
    assert_eq!(orders.after(&identity("a", 1), 0, NOW).1.len(), 1);
    assert_eq!(orders.after(&identity("a", 1), 1, NOW), (1, vec![]));
}

#[test]
fn an_answer_is_bounded_and_the_next_one_goes_on() {
    let large = || {
        let note = "x".repeat(200 * 1024);
        let target = Some(Target { tenant: "a".into(), whole_tenant: true, ..Default::default() });
        let order = Order { note, target, expires: 9 * NOW, ..Default::default() };
        down::sign(SignedKind::Order, &order, &operator(), Vec::new()).unwrap().encode_to_vec()
    };
    let orders = orders((0..8).map(|_| large()).collect());
    let (next, first) = orders.after(&identity("a", 1), -1, NOW);
    let (_, second) = orders.after(&identity("a", 1), next, NOW);
    assert_eq!((first.len(), second.len()), (5, 3));
}

#[test]
fn memory_is_bounded_and_the_oldest_go_after_the_expired() {
    let mut orders = Orders::new("topic");
    orders.max = (3, MAX_BYTES);
    let take = |offset, expires, now| orders.take(&record(offset, envelope("a", &[], expires)), now);
    take(0, 9 * NOW, NOW);
    take(1, 2 * NOW, NOW);
    take(2, 9 * NOW, NOW);
    take(3, 9 * NOW, 3 * NOW);
    let kept = |orders: &Orders| orders.ring.lock().unwrap().entries.iter().map(|entry| entry.offset).collect::<Vec<_>>();
    assert_eq!(kept(&orders), [0, 2, 3]);
    take(4, 9 * NOW, 3 * NOW);
    assert_eq!(kept(&orders), [2, 3, 4]);
    let ring = orders.ring.lock().unwrap();
    assert_eq!(ring.bytes, ring.entries.iter().map(|entry| entry.bytes.len()).sum::<usize>());
}

#[tokio::test]
async fn a_poll_wakes_up_when_something_arrives_for_its_host() {
    let orders = Arc::new(Orders::new("topic"));
    let waiting = tokio::spawn({
        let orders = orders.clone();
        async move { orders.wait(&identity("a", 1), -1).await }
    });
    let forever = clock::now_us() + 60_000_000;
    orders.take(&record(0, envelope("b", &[], forever)), NOW);
    orders.take(&record(1, envelope("a", &[1], forever)), NOW);
    let (next, found) = waiting.await.unwrap();
    assert_eq!((next, found.len()), (1, 1));
}

fn rule_record(offset: i64, text: &str) -> Record {
    let key = hex::encode(Sha256::digest(text));
    let headers = vec![(HEADER_CONTENT_TYPE.to_owned(), Bytes::from(CONTENT_TYPE_BLOB))];
    Record { key: key.into(), headers, ..record(offset, text.as_bytes().to_vec()) }
}

fn scan(tenant: &str, hosts: &[u8], rules: &[&str], expires: i64) -> Vec<u8> {
    let target = Target {
        tenant: tenant.into(),
        agent_ids: hosts.iter().map(|host| vec![*host; 16]).collect(),
        whole_tenant: hosts.is_empty(),
    };
    let rules_sha256 = rules.iter().map(|text| Sha256::digest(text).to_vec()).collect();
    let action = Some(Action::Scan(down::ScanOrder { rules_sha256, ..Default::default() }));
    let order = Order { target: Some(target), expires, action, ..Default::default() };
    down::sign(SignedKind::Order, &order, &operator(), Vec::new()).unwrap().encode_to_vec()
}

#[test]
fn a_rule_text_is_for_the_hosts_of_the_orders_that_name_it_and_no_others() {
    let orders = Orders::new("topic");
    orders.take(&rule_record(0, "rule one"), NOW);
    orders.take(&rule_record(1, "rule two"), NOW);
    orders.take(&record(2, scan("a", &[1], &["rule one"], 9 * NOW)), NOW);
    let asked = |tenant: &str, agent, text: &str, now| orders.blob(&identity(tenant, agent), &Sha256::digest(text).into(), now);
    assert_eq!(asked("a", 1, "rule one", NOW).as_deref(), Some(&b"rule one"[..]));
    for (tenant, agent, text, now) in
        [("a", 2, "rule one", NOW), ("b", 1, "rule one", NOW), ("a", 1, "rule two", NOW), ("a", 1, "rule one", 9 * NOW)]
    {
        assert_eq!(asked(tenant, agent, text, now), None, "{tenant} {agent} {text}");
    }
    assert_eq!(orders.after(&identity("a", 1), -1, NOW).1.len(), 1, "a rule text is no order");
    orders.take(&record(3, scan("b", &[], &["rule one", "rule two"], 9 * NOW)), NOW);
    assert!(asked("b", 7, "rule one", NOW).is_some() && asked("b", 7, "rule two", NOW).is_some());
}

#[test]
fn a_rule_text_under_a_wrong_hash_is_not_kept_and_stops_nothing() {
    let orders = Orders::new("topic");
    let forged = Record { key: hex::encode(Sha256::digest("good")).into(), ..rule_record(0, "bad") };
    orders.take(&forged, NOW);
    orders.take(&record(1, scan("a", &[], &["good", "bad"], 9 * NOW)), NOW);
    for text in ["good", "bad"] {
        assert_eq!(orders.blob(&identity("a", 1), &Sha256::digest(text).into(), NOW), None);
    }
    assert_eq!(orders.after(&identity("a", 1), -1, NOW).1.len(), 1);
}
