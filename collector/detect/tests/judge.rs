//! What the detector does with each kind of record: every bad input is refused with a stable code, and a good one gives
//! the same match however often it comes.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::collections::BTreeMap;

use beffroi_bus::{Record as BusRecord, Topic};
use beffroi_detect::{Chains, Link, RulesInForce, dead_letter, evaluate, open};
use beffroi_engine::correlate::{CorrelateOptions, Correlator, FieldSource};
use beffroi_engine::{Detector, RuleSet, compile};
use beffroi_schema::batch::{BatchBuilder, Envelope, Header, HostInfo, Record, SealedBatch};
use beffroi_schema::event::Value;
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream, wire};
use bytes::Bytes;

const RULE: &str = "title: Shell below Java\nid: 00000000-0000-4000-8000-000000000001\nlevel: high\nauthor: Beffroi project\n\
    logsource: {category: process_creation, product: linux}\n\
    detection:\n  parent: {ParentImage|endswith: /java}\n  condition: parent\n";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn agent() -> AgentId {
    AgentId::of_public_key(&key().verifying_key().to_bytes())
}

fn event(seq: u64, parent: &str) -> Record {
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, 1_795_255_200_000_000 + seq as i64);
    event.seq = seq;
    event.set(Field::IMAGE, "/usr/bin/dash").set(Field::COMMAND_LINE, "sh -c id").set(Field::PARENT_IMAGE, parent);
    event.set(Field::PROCESS_ID, 42u32).set(Field::USER, "tomcat");
    event.set(Field::ANCESTOR_IMAGES, Value::List(vec![parent.as_bytes().into(), b"/sbin/init"[..].into()].into()));
    event.set(Field::ANCESTOR_COMMAND_LINES, Value::List(vec![b"java -jar a"[..].into(), b"init"[..].into()].into()));
    Record::Event(event)
}

fn seal(records: &[Record], previous: BatchHash) -> SealedBatch {
    let mut builder = BatchBuilder::new(&HostInfo { hostname: "app-07".into(), ..Default::default() });
    records.iter().for_each(|record| builder.push(record));
    let header = Header::unsealed("sante".into(), agent(), Epoch::new(1_795_255_000_000_000, 1), Stream::Exec, previous);
    builder.seal(header, &key()).unwrap()
}

fn record(value: Vec<u8>) -> BusRecord {
    let header = |name: &str, value: &str| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()));
    BusRecord {
        topic: Topic::Events,
        partition: 3,
        offset: 9,
        timestamp: 0,
        key: Bytes::from(agent().to_string()),
        headers: vec![
            header(wire::HEADER_RECEIVED_AT, "1795255201000000"),
            header(wire::HEADER_TENANT, "sante"),
            header(wire::HEADER_REMOTE, "192.0.2.17"),
        ],
        value: Bytes::from(value),
    }
}

fn rules() -> RulesInForce {
    rules_of(RULE)
}

fn rules_of(text: &str) -> RulesInForce {
    let (set, problems) = RuleSet::from_texts([("java.yml", text)]);
    assert!(problems.is_empty(), "{problems:?}");
    let detector = compile(&set).unwrap();
    let engine = detector.name().into();
    let correlations = Correlator::new(&set, CorrelateOptions::default()).unwrap();
    RulesInForce { detector: Box::new(detector), ruleset: set.hash().into(), engine, correlations }
}

fn code(record: &BusRecord) -> &'static str {
    open(record).err().expect("it must be refused").code()
}

#[test]
fn a_match_carries_its_evidence_and_is_the_same_however_often_it_is_judged() {
    let good = record(seal(&[event(1, "/usr/bin/bash"), event(2, "/opt/java")], BatchHash::default()).bytes);
    let labels = BTreeMap::from([("site".to_string(), "lyon".to_string())]);
    let judge = |detected_at| evaluate(&open(&good).unwrap(), &rules(), labels.clone(), detected_at).matches;
    let (first, second) = (judge(1), judge(2));
    assert_eq!(first.len(), 1);
    let found = &first[0];
    assert_eq!((found.match_id, found.alert_id), (second[0].match_id, second[0].alert_id));
    assert_eq!(found.rule.title, "Shell below Java");
    assert_eq!(found.host.info.hostname, "app-07");
    assert_eq!(found.host.labels["site"], "lyon");
    assert_eq!(found.what, "sh -c id");
    assert!(found.group_key.starts_with("sante/"));
    assert_eq!(found.received_at, 1_795_255_201_000_000);
    let chain: Vec<&str> = found.chain.iter().map(|link| link.image.as_str()).collect();
    assert_eq!(chain, ["/usr/bin/dash", "/opt/java", "/sbin/init"]);
    assert_eq!(found.events[0]["event_id"], found.event_ids[0].to_string());
    assert!(!found.clock_suspect);
}

#[test]
fn a_clock_far_from_the_gateways_is_said_but_not_for_replayed_events() {
    let old = |replayed: bool| {
        let Record::Event(mut event) = event(1, "/opt/java") else { unreachable!() };
        event.ts = 0;
        event.replayed = replayed;
        let record = record(seal(&[Record::Event(event)], BatchHash::default()).bytes);
        evaluate(&open(&record).unwrap(), &rules(), BTreeMap::new(), 1).matches.remove(0)
    };
    assert!(old(false).clock_suspect);
    assert!(!old(true).clock_suspect && old(true).replayed);
}

#[test]
fn what_is_no_batch_or_was_altered_is_refused() {
    assert_eq!(code(&record(b"garbage".to_vec())), "malformed");
    let mut altered = seal(&[event(1, "/opt/java")], BatchHash::default()).bytes;
    let last = altered.len() - 1;
    altered[last] ^= 1;
    assert_eq!(code(&record(altered)), "signature");
}

#[test]
fn a_record_that_no_gateway_wrote_is_refused() {
    let mut bare = record(seal(&[event(1, "/opt/java")], BatchHash::default()).bytes);
    bare.headers.retain(|(name, _)| name != wire::HEADER_RECEIVED_AT);
    assert_eq!(code(&bare), "record_header");
}

#[test]
fn another_tenant_or_another_agent_than_the_certificates_is_refused() {
    let good = || record(seal(&[event(1, "/opt/java")], BatchHash::default()).bytes);
    let mut moved = good();
    for (name, value) in &mut moved.headers {
        if name == wire::HEADER_TENANT {
            *value = Bytes::from_static(b"finances");
        }
    }
    assert_eq!(code(&moved), "tenant");
    let mut renamed = good();
    renamed.key = Bytes::from(AgentId([9; 16]).to_string());
    assert_eq!(code(&renamed), "agent");
}

#[test]
fn a_dead_letter_holds_the_whole_record_with_its_place_and_reason() {
    let broken = record(b"garbage".to_vec());
    let refusal = open(&broken).err().unwrap();
    let letter = dead_letter(&broken, wire::TOPIC_EVENTS, &refusal, 5);
    assert_eq!((letter.partition, letter.offset, letter.code.as_str()), (3, 9, "malformed"));
    assert_eq!(letter.value, "Z2FyYmFnZQ==");
    assert_eq!(letter.headers[wire::HEADER_TENANT], "sante");
    assert!(letter.reason.contains("no batch"), "{}", letter.reason);
}

#[test]
fn a_replaced_batch_is_seen_and_does_not_silence_the_host() {
    let first = seal(&[event(1, "a")], BatchHash::default());
    let forged = seal(&[event(2, "b")], BatchHash([1; 32]));
    let next = seal(&[event(3, "c")], forged.hash);
    let later = seal(&[event(9, "d")], next.hash);
    let mut chains = Chains::default();
    let mut link = |batch: &SealedBatch| chains.link(&Envelope::parse(&batch.bytes).unwrap(), &[]);
    assert_eq!(link(&first), Ok(Link::Fits));
    assert_eq!(link(&first), Ok(Link::Again));
    assert_eq!(link(&forged).unwrap_err().code(), "chain");
    assert_eq!(link(&next), Ok(Link::Fits));
    assert_eq!(link(&later), Ok(Link::Hole { from: 4, to: 8 }));
}

#[test]
fn a_correlation_over_audit_rules_finds_our_fields_by_their_names_in_audit_records() {
    let rules = rules_of(
        "title: Start\nid: start\nlogsource: {product: linux, service: auditd}\ndetection: {s: {type: EXECVE}, condition: s}\n---\n\
         title: Many\nid: many\ncorrelation: {type: event_count, rules: [start], group-by: [exe], timespan: 1m, condition: {gte: 9}}\n",
    );
    let opened = open(&record(seal(&[event(1, "/usr/bin/java")], BatchHash::default()).bytes)).unwrap();
    let judged = evaluate(&opened, &rules, BTreeMap::new(), 0);
    let detection = &judged.detections[0];
    let text = |name: &str| detection.text(name).map(|value| value.into_owned());
    assert_eq!([text("exe"), text("pid")], [Some("/usr/bin/dash".into()), Some("42".into())]);
    assert_eq!([text("Image"), text("a0")], [Some("/usr/bin/dash".into()), None], "what differs from record to record is absent");
}
