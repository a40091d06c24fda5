//! What is sent, and the oracle that counts what must be found: every event once, every match once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::collector::Collector;
use crate::process::wait_for;

/// The rule that the matching events fire, and no other: `process_creation/hidden_temporary_program.yml`.
pub const RULE: &str = "hidden_temporary_program.yml";
/// Second of the first event. A whole hour, because alerts are grouped by the hour: 2026-11-20T10:00:00Z.
const BEGIN: i64 = 1_795_168_800;
/// What separates two events, microseconds: 1,200 of them fill an hour.
const STEP_US: i64 = 3_000_000;
/// Every so manyth event matches.
const MATCH_EVERY: usize = 40;
/// Differences that an error shows.
const SHOWN: usize = 10;

/// Distinct process starts with a marker of their own.
#[derive(Debug, Clone)]
pub struct Story {
    marker: String,
    events: usize,
}

impl Story {
    /// So many events. At most 9,000: the oracle asks for all of them in one answer.
    pub fn new(marker: &str, events: usize) -> Self {
        assert!(events <= 9_000, "one answer of the API holds at most 10,000 groups");
        Self { marker: marker.into(), events }
    }

    /// How many events.
    pub fn events(&self) -> usize {
        self.events
    }

    fn command_line(&self, index: usize) -> String {
        format!("probe {} {index:05}", self.marker)
    }

    /// Matches by the hour of their event.
    fn matches(&self, keep: impl Fn(&str) -> bool) -> BTreeMap<i64, u64> {
        let mut hours = BTreeMap::new();
        for index in (0..self.events).filter(|index| index % MATCH_EVERY == 0 && keep(&self.command_line(*index))) {
            *hours.entry(index as i64 * STEP_US / 3_600_000_000).or_default() += 1;
        }
        hours
    }

    /// Writes the events as JSON lines.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        for index in 0..self.events {
            let time = jiff::Timestamp::from_microsecond(BEGIN * 1_000_000 + index as i64 * STEP_US)?;
            let image = if index % MATCH_EVERY == 0 { "/tmp/.x11-cache/kworkerd" } else { "/usr/bin/probe" };
            let event = serde_json::json!({
                "ts": time.to_string(), "category": "process_creation", "product": "linux",
                "Image": image, "CommandLine": self.command_line(index), "User": "alice", "ProcessId": index + 2,
                "ParentImage": "/usr/bin/bash", "ParentCommandLine": "bash",
            });
            writeln!(text, "{event}").expect("a String takes all text");
        }
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Waits until so many of the events are visible.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait(&self, collector: &Collector, tenant: &str, least: usize, limit: Duration) -> Result<()> {
        let what = format!("{least} visible events of {tenant}");
        wait_for(&what, limit, || Ok(collector.count(tenant, &self.filter())? >= least as u64))
    }

    /// How many of the events are visible.
    ///
    /// # Errors
    /// What the CLI says.
    pub fn visible(&self, collector: &Collector, tenant: &str) -> Result<u64> {
        collector.count(tenant, &self.filter())
    }

    fn filter(&self) -> String {
        format!("CommandLine~probe {} ", self.marker)
    }

    /// Holds the line to its promise for this tenant: every event that was sent is there once and nothing else, and so is
    /// every match.
    ///
    /// # Errors
    /// What is missing, there twice, or there without having been sent.
    pub fn verify(&self, collector: &Collector, tenant: &str) -> Result<()> {
        self.verify_only(collector, tenant, |_| true)
    }

    /// As [`Story::verify`], when only the events whose command line `sent` knows were spooled.
    ///
    /// # Errors
    /// As [`Story::verify`].
    pub fn verify_only(&self, collector: &Collector, tenant: &str, sent: impl Fn(&str) -> bool) -> Result<()> {
        collector.wait_settled()?;
        let expected: BTreeMap<String, u64> =
            (0..self.events).map(|index| self.command_line(index)).filter(|line| sent(line)).map(|line| (line, 1)).collect();
        let found = collector.groups(tenant, "CommandLine", "product=linux")?;
        ensure!(found == expected, "events of {tenant} differ: {}", differences(&expected, &found));
        let count = collector.count(tenant, "product=linux")?;
        ensure!(count == expected.len() as u64, "{tenant}: {count} events are counted, {} were sent", expected.len());
        self.verify_alerts(collector, tenant, &sent)
    }

    fn verify_alerts(&self, collector: &Collector, tenant: &str, sent: impl Fn(&str) -> bool) -> Result<()> {
        let rule = rule_id()?;
        let alerts = collector.alerts(tenant)?;
        let mut found: Vec<(String, u64)> = alerts.iter().map(|alert| (alert.rule_id.clone(), alert.count)).collect();
        let mut expected: Vec<(String, u64)> = self.matches(sent).into_values().map(|count| (rule.clone(), count)).collect();
        found.sort();
        expected.sort();
        ensure!(found == expected, "alerts of {tenant}: expected {expected:?}, found {found:?}");
        let foreign = alerts.iter().find(|alert| alert.tenant != tenant);
        ensure!(foreign.is_none(), "an alert of another tenant: {foreign:?}");
        Ok(())
    }
}

/// Id of [`RULE`], from its file.
fn rule_id() -> Result<String> {
    let file = crate::place::tree().join("rules/sigma/linux/process_creation").join(RULE);
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).context("the rule has no id")?;
    Ok(id.trim().to_owned())
}

fn differences(expected: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) -> String {
    let missing: Vec<_> = expected.keys().filter(|line| !found.contains_key(*line)).collect();
    let other: Vec<_> = found.iter().filter(|(line, count)| expected.get(*line) != Some(count)).collect();
    let show = SHOWN.min(missing.len());
    format!(
        "{} missing {:?}, {} twice or foreign {:?}",
        missing.len(),
        &missing[..show],
        other.len(),
        &other[..SHOWN.min(other.len())]
    )
}
