//! The whole line on its embedded default: agent, gateway, bus, detector, store, API, terminal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beffroi_e2e::{Collector, Host, Scratch, Story, alone, engine_or_skip, run};

/// Events of a tenant.
const EVENTS: usize = 2_000;
/// For some thousand events on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn what_agents_send_is_what_the_terminal_finds_and_tenants_do_not_mix() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let mut collector = Collector::start(&scratch, "")?;
    let stories = [("interieur", Story::new("alpha", EVENTS)), ("sante", Story::new("beta", EVENTS / 2))];
    for (tenant, story) in &stories {
        let host = Host::enroll(&collector, &scratch, tenant, &format!("pc-{tenant}"))?;
        let file = scratch.path(format!("{tenant}.jsonl"));
        story.write(&file)?;
        host.replay(&file, &[])?;
    }
    for (tenant, story) in &stories {
        story.wait(&collector, tenant, story.events(), LIMIT)?;
        story.verify(&collector, tenant)?;
    }
    an_alert_is_whole(&collector, "interieur")?;
    ensure!(collector.metrics_of_api()?.contains("beffroi_gateway_batches_total"), "the API knows no metrics of its process");
    ensure!(collector.count("finances", "product=linux")? == 0, "a tenant without hosts has events");
    ensure!(collector.stop(), "the collector did not drain in time");
    Ok(())
}

/// `alerts show` by a prefix of the id: rule, host, evidence, chain and times.
fn an_alert_is_whole(collector: &Collector, tenant: &str) -> Result<()> {
    let listed = collector.alerts(tenant)?.into_iter().next().context("no alert")?;
    let alert = collector.ask(&["alerts", "show", &listed.alert_id[..12]])?;
    let text = alert.to_string();
    for held in ["Program Runs From a Hidden Temporary Folder", "Beffroi project", "T1564.001", "pc-interieur", "probe alpha "] {
        ensure!(text.contains(held), "`alerts show` does not hold {held:?}: {text}");
    }
    ensure!(!text.contains("beta"), "another tenant's evidence in {text}");
    Ok(())
}

#[test]
fn a_spool_that_is_sent_twice_adds_no_event_and_no_alert() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, "")?;
    let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
    let story = Story::new("again", EVENTS);
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    run(host.agent()?.args(["replay", "--format", "jsonl", "--no-wait", "--host", "pc-1"]).arg(&file))?;
    let copy = host.clone_disk()?;
    let accepted = || collector.metric("beffroi_gateway_batches_total");
    host.send_spool(LIMIT)?;
    story.wait(&collector, "interieur", EVENTS, LIMIT)?;
    story.verify(&collector, "interieur")?;
    let once = accepted()?;
    copy.send_spool(LIMIT)?;
    let twice = accepted()?;
    ensure!(once > 0.0 && twice >= 2.0 * once, "the second time only {} of {once} batches were sent", twice - once);
    story.verify(&collector, "interieur")
}
