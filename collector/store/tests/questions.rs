//! What the named questions promise: no asker's text becomes SQL, no other tenant's rows, the right answers.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use beffroi_bus::Topic;
use beffroi_schema::alert::{Level, Match};
use beffroi_schema::batch::{Gap, GapReason, Record};
use beffroi_schema::{Category, Event, EventId, Field, Product, Stream, Value, wire};
use beffroi_store::{AlertFilter, AuditFilter, EventSearch, Filter, Found, Op, Resolved, Store, StoreError, TenantScope};
use support::{Agent, Engine, Rig, exec, found, now};

const OPS: [Op; 6] = [Op::Eq, Op::Ne, Op::Glob, Op::Contains, Op::Base64, Op::Regex];

/// What people type who want more than they may see, and what breaks careless quoting.
const HOSTILE: &[&str] = &[
    "'",
    "\"",
    "`",
    "\\",
    "\\'",
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "') UNION ALL SELECT * FROM events --",
    "1; SELECT file('/etc/passwd')",
    "{p0:String}",
    "{tenants:Array(String)}",
    "?",
    "??",
    "%",
    "_",
    "%%",
    "*",
    "\\%",
    "\\N",
    "NULL",
    "['a'] OR 1",
    "]) OR (1=1",
    "a\nb",
    "a\tb",
    "a\rb",
    "a\0b",
    "\u{202e}x",
    "é中文🦀",
    "/* */",
    "-- x",
    "# x",
    "${x}",
    "{{x}}",
    "merge('d','^e$')",
    "x' FORMAT CSV",
    "x' SETTINGS readonly=0",
    "\\x27 OR 1",
    "%27%20OR%201",
    "$$",
    "\u{feff}",
];

async fn events(
    store: &Store,
    scope: &TenantScope,
    filters: Vec<Filter>,
) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, StoreError> {
    match store.search(scope, &EventSearch { filters, limit: 1000, ..EventSearch::default() }).await? {
        Found::Events(events) => Ok(events),
        other => panic!("{other:?}"),
    }
}

fn filter(field: &str, op: Op, value: &str) -> Filter {
    Filter { field: field.into(), op, value: value.into() }
}

async fn publish(rig: &Rig, found: &Match) {
    rig.bus.publish(Topic::Alerts, support::outgoing(found)).await.unwrap();
}

/// Two tenants: `a` with hostile strings in its events, `b` with a secret.
async fn two_tenants(rig: &Rig) -> (Agent, Agent) {
    let (mut a, mut b) = (Agent::new(1, "a"), Agent::new(2, "b"));
    let hostile = HOSTILE.iter().map(|text| {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, now());
        event.set(Field::IMAGE, *text).set(Field::COMMAND_LINE, *text).set_named("Odd", Value::from(*text));
        Record::Event(event)
    });
    let batch = a.batch(Stream::Exec, hostile.collect());
    a.send(&rig.bus, &batch, now()).await;
    let secret = b.batch(Stream::Exec, vec![exec(now(), "/bin/secret", "secret-of-b")]);
    b.send(&rig.bus, &secret, now()).await;
    publish(rig, &found("a", a.id(), "r1", 1, now())).await;
    publish(rig, &found("b", b.id(), "r1", 1, now())).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_every_filter_finds_itself_or_nothing_and_never_another_tenants_row() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    two_tenants(&rig).await;
    let (store, scope) = (rig.store(), TenantScope::only(["a"]));
    for text in HOSTILE {
        for field in ["Image", "CommandLine", "Odd", "host", "category", "argv", "DestinationPort", "Initiated", "event_id", text]
        {
            for op in OPS {
                match events(&store, &scope, vec![filter(field, op, text)]).await {
                    Ok(rows) => {
                        assert!(rows.iter().all(|row| row["tenant"] == "a"), "{field} {op:?} {text:?}");
                        let exact = matches!(field, "Image" | "CommandLine" | "Odd") && op == Op::Eq;
                        assert!(
                            !exact || rows.iter().any(|row| row[field] == *text),
                            "{field} {text:?} did not find itself: {rows:?}"
                        );
                    }
                    Err(StoreError::Filter { .. }) => {}
                    Err(error) => panic!("{field} {op:?} {text:?}: {error}"),
                }
            }
        }
        let contains = events(&store, &scope, vec![filter("CommandLine", Op::Contains, text)]).await.unwrap();
        assert!(contains.iter().any(|row| row["CommandLine"] == *text), "{text:?}");
        let search = EventSearch { by: Some((*text).into()), host: Some((*text).into()), ..EventSearch::default() };
        store.search(&scope, &search).await.unwrap();
        let filter = AlertFilter { host: Some((*text).into()), rule: Some((*text).into()), ..AlertFilter::default() };
        assert!(store.alerts(&scope, &filter).await.unwrap().alerts.is_empty());
        let before = AlertFilter { before: Some((*text).into()), ..AlertFilter::default() };
        assert!(matches!(store.alerts(&scope, &before).await, Err(StoreError::Filter { .. })));
        assert_eq!(store.resolve_alert(&scope, text).await.unwrap(), Resolved::Nothing);
        assert_eq!(store.resolve_host(&scope, text).await.unwrap(), Resolved::Nothing);
        assert_eq!(store.alert(&scope, text).await.unwrap(), None);
        assert_eq!(store.host(&scope, text).await.unwrap(), None);
        assert_eq!(store.process_tree(&scope, text).await.unwrap(), None);
        assert!(store.gaps(&scope, Some(text), None, None, 10).await.unwrap().is_empty());
        assert!(store.around(&scope, text, now(), 1_000_000, 10).await.unwrap().is_empty());
        assert!(store.scan_answers(&scope, &[(*text).into()], 0).await.unwrap().is_empty());
        assert!(store.scan_totals(&scope, &[(*text).into()], 0).await.unwrap().is_empty());
        assert!(store.scan_matches(&scope, text, 0, 10).await.unwrap().is_empty());
        assert!(store.scan_unknowns(&scope, text, 0, 10).await.unwrap().is_empty());
        let by = AuditFilter { by: Some((*text).into()), limit: 10, ..AuditFilter::default() };
        assert!(store.audit(&scope, &by).await.unwrap().is_empty());
        assert!(store.alerts(&scope.narrowed(text), &AlertFilter::default()).await.unwrap().alerts.is_empty());
    }
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_ids_answer_like_unknown_ids() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let (a, b) = two_tenants(&rig).await;
    let store = rig.store();
    let alert_of = |agent: &Agent| found(&agent.tenant, agent.id(), "r1", 1, 0).alert_id.to_string();
    let unknown = "00".repeat(16);
    for (mine, other) in [(&a, &b), (&b, &a)] {
        let scope = TenantScope::only([mine.tenant.as_str()]);
        for id in [&alert_of(other), &unknown] {
            assert_eq!(store.alert(&scope, id).await.unwrap(), None);
            assert_eq!(store.resolve_alert(&scope, id).await.unwrap(), Resolved::Nothing);
            assert_eq!(store.resolve_alert(&scope, &id[..8]).await.unwrap(), Resolved::Nothing);
        }
        for id in [&other.id().to_string(), &unknown] {
            assert_eq!(store.host(&scope, id).await.unwrap(), None);
            assert_eq!(store.resolve_host(&scope, id).await.unwrap(), Resolved::Nothing);
            assert!(store.around(&scope, id, now(), 60_000_000, 10).await.unwrap().is_empty());
        }
        assert_eq!(store.resolve_host(&scope, &other.host.hostname).await.unwrap(), Resolved::Nothing);
        assert_eq!(store.resolve_host(&scope, &mine.host.hostname).await.unwrap(), Resolved::One(mine.id().to_string()));
        assert!(store.alert(&scope, &alert_of(mine)).await.unwrap().is_some());
        let all = events(&store, &scope, vec![]).await.unwrap();
        assert!(!all.is_empty() && all.iter().all(|row| row["tenant"] == mine.tenant.as_str()));
        assert!(store.hosts(&scope, 100).await.unwrap().iter().all(|host| host.tenant == mine.tenant));
        let alerts = store.alerts_since(&scope, 0, 100).await.unwrap().alerts;
        assert!(alerts.len() == 1 && alerts[0].1.tenant == mine.tenant);
    }
    let nobody = TenantScope::only(Vec::<String>::new());
    assert!(events(&store, &nobody, vec![]).await.unwrap().is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_counts_each_match_once_however_often_it_comes() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let agent = Agent::new(3, "a");
    let time = now() - 60_000_000;
    for seq in [1, 2, 3, 2, 1] {
        publish(&rig, &found("a", agent.id(), "r1", seq, time + seq as i64)).await;
    }
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    let (store, all) = (rig.store(), TenantScope::all());
    let list = store.alerts(&all, &AlertFilter { since: Some(time - 1), ..AlertFilter::default() }).await.unwrap();
    assert_eq!((list.total, list.alerts.len(), list.alerts[0].count), (1, 1, 3));
    assert_eq!(list.alerts[0].level, "high");
    let whole = store.alert(&all, &list.alerts[0].alert_id).await.unwrap().unwrap();
    assert_eq!((whole.newest.event_time, whole.match_ids.len()), (time + 3, 3));
    assert_eq!(whole.summary, list.alerts[0]);
    for (filter, count) in [
        (AlertFilter { level: Some(Level::Critical), ..AlertFilter::default() }, 0),
        (AlertFilter { level: Some(Level::Medium), ..AlertFilter::default() }, 1),
        (AlertFilter { rule: Some("title OF".into()), ..AlertFilter::default() }, 1),
        (AlertFilter { since: Some(now()), ..AlertFilter::default() }, 0),
        (AlertFilter { until: Some(time), ..AlertFilter::default() }, 0),
        (AlertFilter { host: Some(agent.id().to_string()[..8].into()), ..AlertFilter::default() }, 1),
    ] {
        assert_eq!(store.alerts(&all, &filter).await.unwrap().alerts.len(), count, "{filter:?}");
    }
    for rule in ["r2", "r3", "r4"] {
        publish(&rig, &found("a", agent.id(), rule, 1, time)).await;
    }
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.alerts(&all, &AlertFilter { limit: 1, before, ..AlertFilter::default() }).await.unwrap();
        seen.extend(page.alerts.into_iter().map(|alert| alert.alert_id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_every_operation_grouped_and_counted() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(4, "a");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x/bin/sh -i");
    let mut net = Event::new(Category::NetworkConnection, Product::Linux, now());
    net.set(Field::DESTINATION_PORT, 4444u64).set(Field::INITIATED, true).set(Field::DESTINATION_IP, "192.0.2.1");
    let mut odd = Event::new(Category::ProcessCreation, Product::Linux, now());
    odd.set(Field::COMMAND_LINE, Value::from(&b"bad \xff\xfe bytes"[..]))
        .set(Field::ARGV, Value::List([b"a"[..].into(), b"B c"[..].into()].into()));
    let records = vec![
        exec(now(), "/usr/bin/java", &format!("java -jar {encoded}")),
        exec(now(), "/usr/bin/curl", "curl 100%_sure"),
        Record::Event(odd),
    ];
    let batch = agent.batch(Stream::Exec, records);
    agent.send(&rig.bus, &batch, now()).await;
    let batch = agent.batch(Stream::Network, vec![Record::Event(net)]);
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let (store, all) = (rig.store(), TenantScope::all());
    for (field, op, value, count) in [
        ("Image", Op::Eq, "/USR/bin/JAVA", 1),
        ("Image", Op::Glob, "*/java", 1),
        ("Image", Op::Glob, "/usr/bin/????", 2),
        ("CommandLine", Op::Contains, "100%_S", 1),
        ("CommandLine", Op::Contains, "0__s", 0),
        ("CommandLine", Op::Base64, "/bin/sh", 1),
        ("CommandLine", Op::Regex, "^curl [0-9]+", 1),
        ("DestinationPort", Op::Eq, "4444", 1),
        ("DestinationPort", Op::Glob, "44*", 1),
        ("Initiated", Op::Eq, "true", 1),
        ("argv", Op::Eq, "b C", 1),
        ("Uid", Op::Eq, "0", 2),
        ("category", Op::Eq, "network_connection", 1),
        ("host", Op::Eq, "host-4", 4),
    ] {
        assert_eq!(events(&store, &all, vec![filter(field, op, value)]).await.unwrap().len(), count, "{field} {op:?} {value}");
    }
    let odd = events(&store, &all, vec![filter("argv", Op::Contains, "b c")]).await.unwrap().remove(0);
    assert_eq!(odd["CommandLine"], "bad \u{fffd} bytes");
    assert_eq!(odd["event_id"].as_str().unwrap().parse::<EventId>().unwrap().agent, agent.id());
    assert!(odd.get("Image").is_none() && odd["ts"].as_str().unwrap().ends_with('Z'));
    let id = odd["event_id"].as_str().unwrap();
    assert_eq!(events(&store, &all, vec![filter("event_id", Op::Eq, id)]).await.unwrap().len(), 1);
    assert!(matches!(events(&store, &all, vec![filter("Image", Op::Regex, "(")]).await, Err(StoreError::Filter { .. })));
    let by = EventSearch { by: Some("Image".into()), ..EventSearch::default() };
    let Found::Groups(groups) = store.search(&all, &by).await.unwrap() else { panic!("groups were asked for") };
    assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 4);
    let none = EventSearch { since: Some(now() + 60_000_000), count: true, ..EventSearch::default() };
    assert_eq!(store.search(&all, &none).await.unwrap(), Found::Total(0));
    let around = store.around(&all, &agent.id().to_string(), now(), 60_000_000, 10).await.unwrap();
    assert_eq!(around.len(), 4);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_has_ancestors_the_process_and_its_descendants() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(5, "a");
    let process = |guid: &str, parent: &str, ancestors: &[&str]| {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, now());
        event.set(Field::PROCESS_GUID, guid).set(Field::PARENT_PROCESS_GUID, parent).set(Field::IMAGE, format!("/bin/{guid}"));
        let list = |of: &dyn Fn(&str) -> String| Value::List(ancestors.iter().map(|a| of(a).into_bytes().into()).collect());
        event.set(Field::ANCESTOR_GUIDS, list(&|a| a.to_owned())).set(Field::ANCESTOR_IMAGES, list(&|a| format!("/old/{a}")));
        Record::Event(event)
    };
    let records = vec![
        process("p", "init", &["init"]),
        process("c", "p", &["p", "init"]),
        process("g1", "c", &["c", "p", "init"]),
        process("g2", "c", &["c", "p", "init"]),
        process("loop", "g1", &[]),
        process("stranger", "else", &[]),
    ];
    let batch = agent.batch(Stream::Exec, records);
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let tree = rig.store().process_tree(&TenantScope::all(), "c").await.unwrap().unwrap();
    let shape: Vec<_> = tree.nodes.iter().map(|node| (node.depth, node.guid.as_str())).collect();
    assert_eq!(shape[..3], [(-2, "init"), (-1, "p"), (0, "c")]);
    assert_eq!(tree.nodes[0].image, "/old/init", "an ancestor from before the sensor is told by its descendant");
    let mut below = shape[3..].to_vec();
    below.sort_unstable();
    assert_eq!(below, [(1, "g1"), (1, "g2"), (2, "loop")]);
    assert!(!tree.truncated);
    assert_eq!(rig.store().process_tree(&TenantScope::only(["b"]), "c").await.unwrap(), None);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_gaps_say_how_a_host_stands() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(6, "a");
    let time = now();
    let gap = Gap {
        seq: 0,
        ts: time,
        reason: GapReason::KernelDrop,
        hook: "exec".into(),
        count: Some(7),
        from: time - 1_000_000,
        to: time,
        evicted: None,
    };
    let batch = agent.batch(Stream::Detection, vec![support::heartbeat(time, 0, vec![]), Record::Gap(gap)]);
    agent.send(&rig.bus, &batch, time).await;
    publish(&rig, &found("a", agent.id(), "r1", 1, time)).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    let (store, all) = (rig.store(), TenantScope::all());
    let host = store.host(&all, &agent.id().to_string()).await.unwrap().unwrap();
    assert_eq!((host.hostname.as_str(), host.dropped, host.spool_bytes, host.remote.as_str()), ("host-6", 2, 5, "192.0.2.7"));
    assert_eq!(host.counters["ring_dropped"], 2);
    assert!(host.spool_oldest.is_empty() && !host.last_heartbeat.is_empty());
    let gaps = store.gaps(&all, Some("HOST-6"), Some(time - 10), None, 10).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| (gap.reason.as_str(), gap.lost)).collect::<Vec<_>>(), [("kernel_drop", Some(7))]);
    assert!(store.gaps(&all, Some("host-6"), None, Some(time - 5_000_000), 10).await.unwrap().is_empty());
    let alert = store.alerts(&all, &AlertFilter::default()).await.unwrap().alerts.remove(0);
    let alert = store.alert(&all, &alert.alert_id).await.unwrap().unwrap();
    assert_eq!(alert.gaps.len(), 1, "an analyst sees that the host was not fully watched");
    let figures = store.figures().await.unwrap();
    assert!(figures.disk_free_bytes > 0 && !figures.last_batch.is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_equal_is_the_opposite_of_equal_also_where_the_field_is_absent() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(5, "a");
    let event = |image: &str, port: Option<u64>, initiated: Option<bool>| {
        let mut event = Event::new(Category::NetworkConnection, Product::Linux, now());
        event.set(Field::IMAGE, image);
        if let Some(port) = port {
            event.set(Field::DESTINATION_PORT, port);
        }
        if let Some(initiated) = initiated {
            event.set(Field::INITIATED, initiated);
        }
        Record::Event(event)
    };
    let records =
        vec![event("/bin/a", Some(443), Some(true)), event("/bin/b", Some(80), Some(false)), event("/bin/c", None, None)];
    let batch = agent.batch(Stream::Network, records);
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let (store, all) = (rig.store(), TenantScope::all());
    for (field, value, left) in [
        ("Image", "/BIN/A", &["/bin/b", "/bin/c"][..]),
        ("DestinationPort", "443", &["/bin/b", "/bin/c"]),
        ("Initiated", "true", &["/bin/b", "/bin/c"]),
        ("Initiated", "false", &["/bin/a", "/bin/c"]),
        ("Odd", "x", &["/bin/a", "/bin/b", "/bin/c"]),
    ] {
        let rows = events(&store, &all, vec![filter(field, Op::Ne, value)]).await.unwrap();
        let mut images: Vec<&str> = rows.iter().filter_map(|row| row["Image"].as_str()).collect();
        images.sort_unstable();
        assert_eq!(images, left, "{field} != {value}");
    }
    assert!(events(&store, &all, vec![filter("DestinationPort", Op::Ne, "x")]).await.is_err());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_live_event_with_another_time_than_the_gateways_is_suspect() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(6, "a");
    let old = now() - 3_600_000_000;
    let event = |image: &str, ts: i64, replayed: bool| {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, ts);
        event.set(Field::IMAGE, image);
        event.replayed = replayed;
        Record::Event(event)
    };
    let records = vec![event("/bin/live", now(), false), event("/bin/late", old, false), event("/bin/replayed", old, true)];
    let batch = agent.batch(Stream::Exec, records);
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let rows = events(&rig.store(), &TenantScope::all(), vec![filter("clock_suspect", Op::Eq, "true")]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row["Image"].as_str().unwrap()).collect::<Vec<_>>(), ["/bin/late"]);
    rig.halt().await;
}
