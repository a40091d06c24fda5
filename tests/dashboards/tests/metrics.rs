//! Every metric that a dashboard reads, and every label that it selects or groups by, must stand in the `/metrics` of a
//! collector that has just started and done some work. Counters of what has not gone wrong yet stand there as zero.

use std::time::Duration;

use anyhow::{Result, ensure};
use beffroi_dashboards::board::boards;
use beffroi_dashboards::promql::{Needs, exposed, label_values, needs};
use beffroi_e2e::{Collector, Host, Scratch, Story, engine_or_skip, wait_for};

const LIMIT: Duration = Duration::from_secs(90);
/// Labels that Prometheus adds itself.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// What `needed` has and the collector has not.
fn missing(needed: &Needs, there: &Needs) -> Vec<String> {
    let mut missing = Vec::new();
    for (metric, labels) in needed {
        let Some(known) = there.get(metric) else {
            missing.push(metric.clone());
            continue;
        };
        let absent = labels.iter().filter(|label| !known.contains(*label) && !OF_PROMETHEUS.contains(&label.as_str()));
        missing.extend(absent.map(|label| format!("{metric}{{{label}}}")));
    }
    missing
}

#[test]
fn a_running_collector_exposes_every_metric_and_label_that_the_dashboards_read() -> Result<()> {
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, "")?;
    let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
    let story = Story::new("metrics", 100);
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    host.replay(&file, &[])?;
    story.wait(&collector, "interieur", story.events(), LIMIT)?;
    collector.wait_settled()?;
    let mut wrong = Vec::new();
    let judge = |wrong: &mut Vec<String>| -> Result<bool> {
        wrong.clear();
        let there = exposed(&collector.metrics()?);
        for board in boards() {
            for panel in board.panels() {
                for text in panel.promql() {
                    let needed = needs(text).map_err(anyhow::Error::msg)?;
                    wrong.extend(missing(&needed, &there).into_iter().map(|what| format!("{}: {what}", panel.name())));
                }
            }
            for text in board.variables().iter().filter_map(|variable| variable.promql()) {
                let (metric, label) = label_values(text).map_err(anyhow::Error::msg)?;
                wrong.extend(missing(&Needs::from([(metric, [label].into())]), &there));
            }
        }
        Ok(wrong.is_empty())
    };
    // Lags and the store's own looks for holes come every few seconds.
    let all = wait_for("all metrics", LIMIT, || judge(&mut wrong));
    ensure!(all.is_ok(), "not exposed: {wrong:#?}");
    Ok(())
}
