//! Promises about batches: their events are judged as they would be one by one and by the book, whatever their strings,
//! in whatever order, with the audit records that they are shown as.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use beffroi_engine::{Detector, RuleMatch, RuleSet, SigmaDetector, compile};
use beffroi_schema::batch::{BatchBuilder, Envelope, Header, HostInfo, Packed, Record};
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream, Text, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;

/// Rules for events of ours and for audit records: whole values, beginnings, ends, insides, numbers, lists, expressions,
/// keywords, what is absent, what refers to another field, and what only some kinds of records can be.
const RULES: [(&str, &str); 27] = [
    ("category: process_creation", "{a: {Image|endswith: [/sh, /nc]}, condition: a}"),
    ("category: process_creation", "{a: {CommandLine|contains: [' -e ', base64]}, b: {User: root}, condition: a and not b}"),
    ("category: process_creation", "{a: {ProcessId|gt: 900}, b: {argv: '-s'}, condition: a and b}"),
    ("category: process_creation", "{a: {CommandLine|re: '[0-9]{4}'}, condition: a}"),
    ("category: process_creation", "{a: {ParentImage: null}, condition: a}"),
    ("category: process_creation", "{a: {Odd|contains: dd}, condition: a}"),
    ("category: process_creation", "{a: {Odd|endswith: '1'}, condition: a}"),
    ("category: process_creation", "{a: {Image|fieldref: ParentImage}, condition: a}"),
    ("category: file_event", "{a: {TargetFilename|startswith: /tmp/}, condition: a}"),
    ("category: file_event", "{a: {TargetFilename|contains: /., Image|endswith: /sh}, condition: a}"),
    ("category: network_connection", "{a: {DestinationIp|cidr: 10.0.0.0/8}, b: {DestinationPort: 4444}, condition: a or b}"),
    ("service: auditd", "{a: {type: EXECVE, a0: [whoami, w]}, condition: a}"),
    ("service: auditd", "{a: {type: EXECVE}, k: {'|all': [truncate, '-s']}, n: ['of='], condition: a and k and not n}"),
    ("service: auditd", "{a: {type: PATH, name|contains: /.}, b: {name|startswith: /home}, condition: a and not b}"),
    ("service: auditd", "{a: {type: SYSCALL, SYSCALL: [execve, connect], euid: 33}, condition: a}"),
    ("service: auditd", "{a: {type: SYSCALL, exe|endswith: /nc}, b: {type: USER_ADD}, condition: 1 of them}"),
    ("service: auditd", "{a: {type: PATH, nametype: DELETE, name|startswith: /tmp}, condition: a}"),
    ("service: auditd", "{a: {comm: [sh, truncate]}, condition: a}"),
    ("service: auditd", "{a: {type: CWD, cwd: /tmp/x}, condition: a}"),
    ("service: auditd", "{a: {argc|gte: 3}, b: {a2: ''}, condition: a and not b}"),
    ("service: auditd", "{keywords: [openat, dd], condition: keywords}"),
    ("service: auditd", "{a: {success: 'no'}, b: {argc: 2}, condition: b and not a}"),
    ("service: auditd", "{a: {cwd: null, name: null}, b: {exe|endswith: /dd}, condition: a and b}"),
    (
        "service: auditd",
        "{a: {type: EXECVE}, b: [whoami, truncate], c: ['nc '], d: ['4', '5'], condition: a and (b or (c and d))}",
    ),
    // What one looks for in all texts, the other only asks about.
    ("category: file_event", "{k: [hidden], condition: k}"),
    ("category: process_creation", "{a: {Image|endswith: [/sh, /dd]}, k: [hidden], condition: a and k}"),
    ("category: process_creation", "{a: {Image|endswith: /nc}, k: [hidden], condition: a and not k}"),
];

fn detector() -> SigmaDetector {
    let rule = |(id, (logsource, detection)): (usize, &(&str, &str))| {
        let text = format!("title: rule {id}\nid: r{id}\nlogsource: {{product: linux, {logsource}}}\ndetection: {detection}\n");
        (format!("{id}.yml"), text)
    };
    let (set, problems) = RuleSet::from_texts(RULES.iter().enumerate().map(rule));
    assert!(problems.is_empty(), "{problems:?}");
    compile(&set).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    let texts: &[&str] = &[
        "/bin/sh",
        "/usr/bin/nc",
        "/bin/dd",
        "/tmp/x",
        "/home/a/.ssh/id",
        "/tmp/.hidden/w",
        "whoami",
        "w",
        "truncate",
        "-s",
        "dd",
        "if=/dev/zero",
        "of=/dev/sda",
        "nc -e 10.0.0.1 4444",
        "base64 -d",
        "",
        "root",
        "33",
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "\u{c9}T\u{c9}",
        "sh",
    ];
    select(texts.to_vec()).prop_map(str::to_string)
}

fn event() -> impl Strategy<Value = Event> {
    let categories = [
        Category::ProcessCreation,
        Category::ProcessCreation,
        Category::FileEvent,
        Category::FileRename,
        Category::FileDelete,
        Category::NetworkConnection,
        Category::DnsQuery,
    ];
    let texts = [
        Field::IMAGE,
        Field::COMMAND_LINE,
        Field::PARENT_IMAGE,
        Field::USER,
        Field::CURRENT_DIRECTORY,
        Field::TARGET_FILENAME,
        Field::SOURCE_FILENAME,
        Field::DESTINATION_IP,
        Field::COMM,
    ];
    let numbers = [Field::PROCESS_ID, Field::UID, Field::EUID, Field::DESTINATION_PORT, Field::LOGIN_UID];
    let texts = proptest::collection::vec((select(texts.to_vec()), text()), 0..7);
    let numbers = proptest::collection::vec((select(numbers.to_vec()), select(vec![0u64, 33, 901, 4444])), 0..4);
    let argv = proptest::option::of(proptest::collection::vec(text(), 0..5));
    // One name is a text here and a number there: numbers of strings are no numbers.
    let odd = prop_oneof![
        text().prop_map(|text| Value::from(text.as_str())),
        (0u64..30).prop_map(Value::Uint),
        (0i64..30).prop_map(Value::Int),
        Just(Value::Uint(901)),
    ];
    let extra = proptest::option::of(odd);
    let (category, initiated) = (select(categories.to_vec()), any::<Option<bool>>());
    (category, texts, numbers, argv, extra, initiated).prop_map(|(category, texts, numbers, argv, extra, initiated)| {
        let mut event = Event::new(category, Product::Linux, 7);
        texts.into_iter().for_each(|(field, text)| _ = event.set(field, text));
        numbers.into_iter().for_each(|(field, number)| _ = event.set(field, number));
        let list = |argv: Vec<String>| Value::List(argv.iter().map(|text| Text::from(text.as_bytes())).collect());
        event.set_some(Field::ARGV, argv.map(list)).set_some(Field::INITIATED, initiated);
        extra.into_iter().for_each(|odd| _ = event.set_named("Odd", odd));
        event
    })
}

fn batch(events: &[Event]) -> Packed {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut builder = BatchBuilder::new(&HostInfo::default());
    for (index, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event.seq = index as u64 + 1;
        builder.push(&Record::Event(event));
    }
    let agent = AgentId::of_public_key(&key.verifying_key().to_bytes());
    let header = Header::unsealed("t".into(), agent, Epoch::new(1, 1), Stream::Exec, BatchHash::default());
    let sealed = builder.seal(header, &key).unwrap();
    Envelope::parse(&sealed.bytes).unwrap().open().unwrap()
}

/// What matches each event and why, by its number.
fn in_a_batch(detector: &SigmaDetector, batch: &Packed) -> Vec<Vec<RuleMatch>> {
    let mut found = vec![Vec::new(); batch.len()];
    let mut numbers = Vec::new();
    detector.evaluate_batch(batch, &mut |event, matches| {
        numbers.push(event.seq());
        found[event.seq() as usize - 1] = matches;
    });
    assert!(numbers.is_sorted_by(|one, next| one < next), "each event once and in order: {numbers:?}");
    found
}

fn ids(matches: &[RuleMatch]) -> BTreeSet<String> {
    matches.iter().map(|found| found.rule.id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_of_a_batch_are_judged_as_one_by_one_and_by_the_book(
        pool in proptest::collection::vec(event(), 1..12),
        orders in proptest::collection::vec(proptest::collection::vec(any::<Index>(), 1..30), 1..3),
    ) {
        let detector = detector();
        for order in orders {
            // Events come again and again, in batches of other strings.
            let events: Vec<Event> = order.iter().map(|index| index.get(&pool).clone()).collect();
            let together = in_a_batch(&detector, &batch(&events));
            for (event, found) in events.iter().zip(together) {
                prop_assert_eq!(&found, &detector.evaluate(event), "{:?}", event);
                let by_the_book = (0..RULES.len()).map(|id| format!("r{id}"));
                let by_the_book: BTreeSet<String> =
                    by_the_book.filter(|id| detector.why(id, event).iter().any(|why| why.matches)).collect();
                prop_assert_eq!(ids(&found), by_the_book, "{:?}", event);
            }
        }
    }
}

#[test]
fn every_rule_of_the_property_matches_something() {
    let detector = detector();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found = BTreeSet::new();
    for _ in 0..20_000 {
        let event = event().new_tree(&mut runner).unwrap().current();
        found.extend(ids(&detector.evaluate(&event)));
    }
    assert_eq!(found.len(), RULES.len(), "{found:?}");
}

#[test]
fn events_of_a_batch_with_more_shapes_than_have_plans_are_judged_like_all_others() {
    let detector = detector();
    // Names that differ in their middle alone, and are not far from each other by any hash of their ends.
    let of_shape = |number: usize| {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 7);
        event.set(Field::IMAGE, if number.is_multiple_of(3) { "/bin/sh" } else { "/bin/dd" });
        event.set_named(&format!("beginning{number:08}and_the_end"), Value::from("x"));
        event
    };
    let events: Vec<Event> = (0..1_500).map(of_shape).collect();
    let found = in_a_batch(&detector, &batch(&events));
    let single: Vec<Vec<RuleMatch>> = events.iter().map(|event| detector.evaluate(event)).collect();
    assert_eq!(found, single);
    assert!(found.last().is_some_and(|last| ids(last).contains("r22")), "the last events match as well");
    assert_eq!(in_a_batch(&detector, &batch(&events[1_400..])), single[1_400..], "the next batch has plans again");
}
