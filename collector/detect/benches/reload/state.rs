//! What an event waits for when other correlations take over a large state.

use beffroi_engine::RuleSet;
use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use serde_json::json;

use crate::Failure;
use crate::clock::time;
use crate::figure::{Target, median, print};

/// Groups: a fifth of what a correlator may keep.
const GROUPS: u64 = 100_000;
/// Measured so often.
const ROUNDS: usize = 9;
/// Any time will do.
const START: i64 = 1_795_000_000_000_000;

fn correlator(threshold: u32) -> Result<Correlator<u64>, Failure> {
    let text = format!(
        "title: Failed login\nid: failed\nlogsource: {{product: linux, service: auth}}\ndetection: {{s: {{a: b}}, condition: s}}\n---\n\
         title: Many by one\nid: kept\ncorrelation: {{type: event_count, rules: [failed], group-by: [User], timespan: 1h, \
         condition: {{gte: 50}}}}\n---\n\
         title: Many of one host\nid: changed\ncorrelation: {{type: value_count, rules: [failed], group-by: [User], timespan: 1h, \
         condition: {{field: Host, gte: {threshold}}}}}\n"
    );
    let (set, problems) = RuleSet::from_texts([("rules.yml", text)]);
    assert!(problems.is_empty(), "{problems:?}");
    Ok(Correlator::new(&set, CorrelateOptions::default())?)
}

/// Measures and prints: one of two correlations has changed, with so many groups of each.
pub fn measure() -> Result<(), Failure> {
    let mut running = correlator(10)?;
    for number in 0..GROUPS / 2 {
        let event = json!({ "User": format!("user-{number}"), "Host": "app-07" });
        running.observe("interieur", START + number as i64, number, event.as_object().expect("an object"), ["failed"]);
    }
    running.advance(START + GROUPS as i64);
    let groups = running.figures().groups as u64;
    if groups != GROUPS {
        return Err(format!("{groups} groups instead of {GROUPS}").into());
    }
    let state = running.snapshot();
    let mut costs = Vec::new();
    for round in 0..ROUNDS {
        let mut running = correlator(10)?;
        running.restore(state.clone())?;
        let other = correlator(11 + round as u32)?;
        let mut left = None;
        costs.push(time(|| left = Some(running.exchange(&other))) * 1e3);
        let kept = running.figures().groups as u64;
        if kept * 2 != GROUPS {
            return Err(format!("{kept} groups went on instead of {}", GROUPS / 2).into());
        }
    }
    print("detect.reload.correlations", median(costs), "ms_with_100000_groups", Target::AtMost(crate::MOST));
    Ok(())
}
