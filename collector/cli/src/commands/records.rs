//! Records of the bus as JSON objects: batches are checked and taken apart, JSON is passed through. A record that cannot be
//! read becomes an object that says why; nothing of a batch with a wrong signature is shown.

use beffroi_bus::{Record as BusRecord, Topic};
use beffroi_schema::batch::{BatchError, Contents, Envelope, Gap, Header, HookState, Record, StreamHead};
use beffroi_schema::json::rfc3339;
use beffroi_schema::{EventId, down, wire};
use serde_json::{Map, Value, json};

/// The objects of one record.
pub fn objects(record: &BusRecord) -> Vec<Value> {
    match record.topic {
        Topic::Events => batch(record).unwrap_or_else(|error| vec![unreadable(record, error.code(), &error.to_string())]),
        Topic::Orders => match down::parse(&record.value) {
            Ok(order) => vec![json!({"record": "order", "id": hex::encode(&record.key), "kind": order.kind,
                "signatures": order.signatures.len(), "threshold": order.threshold, "body_bytes": order.body.len(),
                "partition": record.partition, "offset": record.offset})],
            Err(error) => vec![unreadable(record, "malformed", &error.to_string())],
        },
        Topic::Detections if record.header(wire::HEADER_STATE).is_some() => {
            vec![json!({"record": "state", "partition": record.partition, "offset": record.offset, "bytes": record.value.len()})]
        }
        Topic::Alerts | Topic::Detections | Topic::DeadLetters | Topic::Control | Topic::Audit => {
            match serde_json::from_slice(&record.value) {
                Ok(value) => vec![value],
                Err(error) => vec![unreadable(record, "no_json", &error.to_string())],
            }
        }
    }
}

fn unreadable(record: &BusRecord, code: &str, why: &str) -> Value {
    json!({"record": "unreadable", "code": code, "why": why, "topic": record.topic.name(), "partition": record.partition,
        "offset": record.offset, "bytes": record.value.len()})
}

fn batch(record: &BusRecord) -> Result<Vec<Value>, BatchError> {
    let envelope = Envelope::parse(&record.value)?;
    envelope.verify()?;
    let Contents { host, records } = envelope.decode()?;
    let received: Option<i64> = record
        .header(wire::HEADER_RECEIVED_AT)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok());
    let object = |inner: &Record| {
        let (kind, mut object) = content(inner);
        // After the content: no field of an event may stand in the place of what is known of it.
        about(&mut object, kind, &envelope.header, inner.seq());
        object.insert("host".into(), host.hostname.clone().into());
        if let Some(received) = received {
            object.insert("received_at".into(), rfc3339(received).into());
        }
        object.insert("partition".into(), record.partition.into());
        object.insert("offset".into(), record.offset.into());
        Value::Object(object)
    };
    Ok(records.iter().map(object).collect())
}

fn about(object: &mut Map<String, Value>, kind: &str, header: &Header, seq: u64) {
    let Header { agent, epoch, stream, .. } = *header;
    object.insert("record".into(), kind.into());
    object.insert("tenant".into(), header.tenant.clone().into());
    object.insert("agent_id".into(), agent.to_string().into());
    object.insert("event_id".into(), EventId { agent, epoch, stream, seq }.to_string().into());
}

fn content(record: &Record) -> (&'static str, Map<String, Value>) {
    let (kind, value) = match record {
        Record::Event(event) => return ("event", event.to_json()),
        Record::Gap(gap) => ("gap", gap_json(gap)),
        Record::EpochStart(start) => {
            let previous = start.previous.as_ref().map(|previous| {
                json!({"epoch": previous.epoch.to_string(), "alive": rfc3339(previous.alive), "clean_stop": previous.clean_stop,
                    "heads": heads(&previous.heads)})
            });
            ("epoch_start", json!({"ts": rfc3339(start.ts), "boot_id": start.boot_id, "previous": previous}))
        }
        Record::Heartbeat(beat) => (
            "heartbeat",
            json!({"ts": rfc3339(beat.ts), "heads": heads(&beat.heads), "hooks": hooks(&beat.hooks),
                "counters": beat.counters.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "spool_bytes": beat.spool_bytes, "cpu_us": beat.cpu_us, "rss_bytes": beat.rss_bytes,
                "policy_version": beat.policy_version}),
        ),
    };
    (kind, if let Value::Object(object) = value { object } else { Map::new() })
}

fn gap_json(gap: &Gap) -> Value {
    let evicted = gap.evicted.map(|it| json!({"first_seq": it.first, "last_seq": it.last}));
    json!({"ts": rfc3339(gap.ts), "reason": gap.reason.name(), "hook": gap.hook, "lost": gap.count, "from": rfc3339(gap.from),
        "to": rfc3339(gap.to), "evicted": evicted})
}

fn heads(heads: &[StreamHead]) -> Vec<Value> {
    heads.iter().map(|head| json!({"stream": head.stream.name(), "last_seq": head.last_seq})).collect()
}

fn hooks(hooks: &[HookState]) -> Vec<Value> {
    let hook = |it: &HookState| json!({"name": it.name, "on": it.on, "why": it.why, "seen": it.seen, "dropped": it.dropped});
    hooks.iter().map(hook).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::batch::{BatchBuilder, GapReason, HostInfo};
    use beffroi_schema::event::{Category, Event, Product};
    use beffroi_schema::{AgentId, BatchHash, Epoch, Field, Stream};
    use ed25519_dalek::SigningKey;

    pub(crate) fn sealed() -> Vec<u8> {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 1_795_000_000_000_000);
        event.seq = 1;
        event.set(Field::IMAGE, "/bin/sh").set_named("tenant", "forged".into());
        event.set_named("record", "forged".into());
        let gap = Gap {
            seq: 2,
            ts: 3,
            reason: GapReason::KernelDrop,
            hook: "exec".into(),
            count: Some(4),
            from: 1,
            to: 2,
            evicted: None,
        };
        let mut builder = BatchBuilder::new(&HostInfo { hostname: "pc-1".into(), ..Default::default() });
        builder.push(&Record::Event(event));
        builder.push(&Record::Gap(gap));
        let header = Header::unsealed(
            "interieur".into(),
            AgentId::of_public_key(&key.verifying_key().to_bytes()),
            Epoch::new(1_795_000_000_000_000, 1),
            Stream::Exec,
            BatchHash::default(),
        );
        builder.seal(header, &key).unwrap().bytes
    }

    fn record(topic: Topic, value: Vec<u8>) -> BusRecord {
        let headers = vec![(wire::HEADER_RECEIVED_AT.to_owned(), b"1795000000000000".as_slice().to_vec().into())];
        BusRecord { topic, partition: 3, offset: 9, timestamp: 0, key: Vec::new().into(), headers, value: value.into() }
    }

    #[test]
    fn a_batch_is_its_records_and_no_field_of_an_event_passes_for_what_is_known_of_it() {
        let objects = objects(&record(Topic::Events, sealed()));
        assert_eq!(objects.len(), 2);
        let event = &objects[0];
        for (name, value) in [
            ("record", "event"),
            ("tenant", "interieur"),
            ("host", "pc-1"),
            ("Image", "/bin/sh"),
            ("category", "process_creation"),
        ] {
            assert_eq!(event[name], value, "{event}");
        }
        assert!(event["event_id"].as_str().is_some_and(|id| id.ends_with("-1")), "{event}");
        assert!(event["received_at"].as_str().is_some_and(|time| time.starts_with("2026-")), "{event}");
        assert_eq!(
            (&objects[1]["record"], &objects[1]["reason"], &objects[1]["lost"]),
            (&json!("gap"), &json!("kernel_drop"), &json!(4))
        );
        assert_eq!((&event["partition"], &event["offset"]), (&json!(3), &json!(9)));
    }

    #[test]
    fn nothing_of_a_forged_batch_is_shown_but_that_it_is_forged() {
        let mut bytes = sealed();
        *bytes.last_mut().unwrap() ^= 1;
        let objects = objects(&record(Topic::Events, bytes));
        assert_eq!((objects.len(), &objects[0]["record"], &objects[0]["code"]), (1, &json!("unreadable"), &json!("signature")));
        assert!(objects[0].get("Image").is_none());
    }

    #[test]
    fn json_is_passed_through_and_rubbish_is_said_to_be_rubbish() {
        let alert = json!({"match_id": "00", "what": "x"});
        assert_eq!(objects(&record(Topic::Alerts, alert.to_string().into_bytes())), [alert]);
        for topic in Topic::ALL {
            let objects = objects(&record(topic, b"\xff\xfe{".to_vec()));
            assert_eq!((objects.len(), &objects[0]["record"]), (1, &json!("unreadable")), "{topic}");
        }
    }
}
