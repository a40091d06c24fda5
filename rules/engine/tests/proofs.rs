//! Every rule that we ship loads, can fire, is proven, and stays quiet while Debian builds a package.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use beffroi_engine::{Detector, RuleSet, compile, proof};
use beffroi_schema::alert::Level;
use beffroi_schema::{Category, Event, Logsource, Product};

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sigma")
}

#[test]
fn every_rule_has_a_proof_and_every_proof_holds() {
    let report = proof::run(&rules());
    assert!(report.is_green(), "{report:#?}");
    assert!(report.proven >= 90, "only {} rules are proven", report.proven);
    assert!(report.passed >= report.proven * (proof::MIN_FIRES + proof::MIN_QUIET));
}

#[test]
fn every_rule_names_its_author_licence_level_and_known_attack_techniques() {
    let (set, problems) = RuleSet::load(&[rules()]);
    assert!(problems.is_empty(), "{problems:#?}");
    for rule in set.rules() {
        let info = rule.info();
        assert!(!info.author.is_empty() && !info.license.is_empty() && !info.version.is_empty(), "{}", info.title);
        assert!(!info.description.is_empty() && !info.references.is_empty(), "{}", info.title);
        assert!(!info.false_positives.is_empty(), "{}", info.title);
        assert!(info.attack.iter().any(|attack| attack.id.starts_with("TA")), "{}", info.title);
        assert!(info.attack.iter().any(|attack| attack.id.starts_with("T1")), "{}", info.title);
        assert!(info.attack.iter().all(|attack| !attack.name.is_empty()), "{}: {:?}", info.title, info.attack);
        assert_eq!(info.id.len(), 36, "{}", info.title);
    }
}

#[test]
fn every_rule_says_what_to_do_first() {
    let (set, _) = RuleSet::load(&[rules()]);
    let correlator = Correlator::<u64>::new(&set, CorrelateOptions::default()).expect("few correlations");
    let rules = set.rules().iter().map(|rule| rule.info());
    let all = rules.chain(set.correlations().iter().map(|correlation| correlation.info()));
    // What only serves a correlation tells nobody anything.
    for info in all.filter(|info| correlator.alerts_alone(&info.id)) {
        let letters = info.response.chars().count();
        assert!((60..=400).contains(&letters), "{}: a note of {letters} letters", info.title);
    }
}

#[test]
fn every_rule_can_fire_on_what_our_sensors_send() {
    let of = |category| Logsource { category, product: Product::Linux, service: None };
    let categories = [
        Category::ProcessCreation,
        Category::ProcessTermination,
        Category::FileEvent,
        Category::FileRename,
        Category::FileDelete,
        Category::NetworkConnection,
        Category::DnsQuery,
        Category::Antivirus,
        Category::None,
    ];
    let (set, _) = RuleSet::load(&[rules()]);
    assert_eq!(set.inert(&categories.map(of)), []);
}

/// Process starts of a real package build; none where the corpus is not beside the checkout.
fn build_events() -> Option<Vec<Event>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/linux/benign-exec/build.jsonl.zst");
    let file = std::fs::File::open(path).ok()?;
    let lines = std::io::BufReader::new(zstd::Decoder::new(file).expect("the corpus is zstd")).lines();
    let read = |line: std::io::Result<String>| {
        let mut json: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("a JSON line");
        json["category"] = "process_creation".into();
        json["product"] = "linux".into();
        Event::from_json(&json, 0).expect("an event")
    };
    Some(lines.map(read).collect())
}

#[test]
fn a_package_build_raises_nothing_high_and_hardly_anything_else() {
    let Some(events) = build_events() else { return eprintln!("skipped: the corpus is not here") };
    assert!(events.len() > 4_000);
    let (set, _) = RuleSet::load(&[rules()]);
    let detector = compile(&set).expect("our rules compile");
    let mut correlator = Correlator::new(&set, CorrelateOptions::offline()).expect("our correlations compile");
    let mut found = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let matches = detector.evaluate(event);
        correlator.observe("", event.ts, number, event, matches.iter().map(|found| found.rule.id.as_str()));
        found.extend(matches.into_iter().map(|found| found.rule).filter(|rule| correlator.alerts_alone(&rule.id)));
    }
    found.extend(correlator.finish().into_iter().map(|found| found.rule));
    let high: Vec<&str> = found.iter().filter(|rule| rule.level >= Level::High).map(|rule| rule.title.as_str()).collect();
    assert_eq!(high, Vec::<&str>::new());
    let titles: Vec<&str> = found.iter().map(|rule| rule.title.as_str()).collect();
    assert!(found.len() <= 2, "{titles:?}");
    assert_eq!(detector.panics(), 0);
}

/// Prints the speed on one core: `cargo test --profile ci -p beffroi-engine --test proofs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_many_events_a_second_our_rules_judge() {
    let events = build_events().expect("the corpus is needed");
    let (set, _) = RuleSet::load(&[rules()]);
    let detector = compile(&set).expect("our rules compile");
    let rounds = 20;
    let start = std::time::Instant::now();
    let found: usize = (0..rounds).flat_map(|_| &events).map(|event| detector.evaluate(event).len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    let judged = events.len() * rounds;
    println!("{judged} events, {} rules, {found} matches: {:.0} events/s", set.rules().len(), judged as f64 / seconds);
}
