//! The story behind `make run` and `make demo`: a collector, this machine as a host of one ministry, two more tenants
//! with replayed hosts, an attack, a killed agent. Every alert is read back through the API.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::acts;
use crate::host::{self, Host};
use crate::hunt::{self, Csirt, Wanted};
use crate::line::{Line, Scratch, rule_id, run, tree};
use crate::reader::{LOOK_EVERY, Reader, Seen, now_us, time_us};
use crate::show;

/// Tenant of this machine.
const TENANT: &str = "interieur";
/// The other tenants: name, replayed host, recorded events.
const REPLAYED: [(&str, &str, &str); 2] =
    [("sante", "app-07", "sante-app-07.jsonl"), ("finances", "poste-214", "finances-poste-214.jsonl")];
/// A host of this machine's ministry that is switched off when the CSIRT asks.
const ABSENT: &str = "portable-31";
/// How long an expected alert may take on a busy machine before the story says that it is missing.
const ALERT_LIMIT: Duration = Duration::from_secs(20);
/// Repeated starts whose latency is measured.
const LATENCY_STARTS: u64 = 30;

/// An alert that must come: tenant and rule file.
pub struct Expected {
    tenant: &'static str,
    rule: &'static str,
}

const fn expect(tenant: &'static str, rule: &'static str) -> Expected {
    Expected { tenant, rule }
}

/// What the scene on this machine must raise where the probes run.
const LIVE: &[Expected] = &[
    expect(TENANT, "java_starts_shell"),
    expect(TENANT, "java_tree_fetches"),
    expect(TENANT, "base64_into_shell"),
    expect(TENANT, "hidden_temporary_program"),
    expect(TENANT, "cron_entry_written"),
    expect(TENANT, "antivirus_signature"),
];

/// What the replayed hosts must raise, on any machine.
const RECORDED: &[Expected] = &[
    expect("sante", "java_starts_shell"),
    expect("sante", "hidden_temporary_program"),
    expect("finances", "reverse_shell_dev_tcp"),
];

/// How the story went.
pub struct Outcome {
    /// Expected alerts that did not come.
    pub missing: Vec<String>,
    /// Whether the killed agent's gap was read back; none where there was no agent to kill.
    pub gap: Option<bool>,
    /// Whether the hunt's match inside the war was read back.
    pub hunt: bool,
    /// Whether the forged order was refused.
    pub refusal: bool,
}

/// The story as it is told; everything stops when it is dropped.
pub struct Story {
    line: Line,
    csirt: Csirt,
    host: Option<Host>,
    reader: Reader,
    seen: Vec<Seen>,
    // Last, so that it is removed after the processes have ended.
    scratch: Scratch,
}

impl Story {
    /// Starts the collector and enrols this machine.
    pub async fn begin() -> Result<Self> {
        let scratch = Scratch::new()?;
        show::step("starting the collector: gateway, enrolment, detector, store, API, embedded ClickHouse");
        let line = Line::start(&scratch, "")?;
        show::say(&format!("API http://{}  gateway https://{}", line.addresses.api, line.addresses.gateway));
        show::say(&format!("console http://{}/ (sign in with the token in {})", line.addresses.api, line.token_file.display()));
        show::step("making the CSIRT's keys: a root, which hosts pin when they enrol, and an operator under it");
        let csirt = Csirt::begin(&line, &scratch, TENANT)?;
        let reader = Reader::new(&line.addresses.api, &line.token)?;
        Ok(Self { line, csirt, host: None, reader, seen: Vec::new(), scratch })
    }

    /// Tells everything once.
    pub async fn tell(&mut self) -> Result<Outcome> {
        let started = Instant::now();
        self.start_host()?;
        let live = self.live();
        if live {
            show::step("a Log4Shell weekend begins: a \"java\" starts a shell, which fetches and runs a stage");
            acts::weekend(&self.scratch)?;
        }
        for (tenant, hostname, file) in REPLAYED {
            show::step(&format!("tenant {tenant}: recorded events of {hostname} are replayed (labelled as replay)"));
            host::replay(&self.line, &self.scratch, tenant, hostname, &tree().join("tests/fixtures/replay").join(file))?;
        }
        let missing = self.await_alerts(live).await?;
        self.show_one()?;
        if live && missing.is_empty() {
            self.latencies().await?;
        }
        let (hunt, refusal) = self.hunt().await?;
        let gap = if self.host.is_some() { Some(self.kill_and_return().await?) } else { None };
        show::say(&format!("told in {:.1} s", started.elapsed().as_secs_f64()));
        Ok(Outcome { missing, gap, hunt, refusal })
    }

    fn start_host(&mut self) -> Result<()> {
        show::step("enrolling this machine and starting its agent: sensor, uplink, scan worker");
        let mut host = Host::enroll(&self.line, &self.scratch, TENANT)?;
        host.start()?;
        self.host = Some(host);
        host::absent(&self.line, &self.scratch, TENANT, ABSENT)
    }

    /// The CSIRT asks every host of the ministry; then somebody else tries to.
    async fn hunt(&mut self) -> Result<(bool, bool)> {
        show::step("the CSIRT hunts: a signed scan of the whole ministry for a vulnerable class, also inside archives");
        let folder = hunt::plant(&self.scratch)?;
        let order = self.csirt.hunt(&self.line, TENANT, &folder)?;
        let status = hunt::answered(&self.reader, &order, Wanted { done: 1, refused: 0, offline: 1 }).await?;
        show::say(&hunt::sentence(&status));
        let found = hunt::found(&self.reader, &order).await?;
        show::step("a stranger signs the same order; the servers relay it, the host decides");
        let forged = self.csirt.forge(&self.line, TENANT, &folder)?;
        let status = hunt::answered(&self.reader, &forged, Wanted { done: 0, refused: 1, offline: 1 }).await?;
        let refusal = hunt::refusal(&status);
        show::say(&format!("refused: {}", refusal.unwrap_or("without a reason")));
        Ok((found, refusal.is_some()))
    }

    /// Whether the probes that the scene needs are attached; says what is not seen otherwise.
    fn live(&self) -> bool {
        let Some(host) = &self.host else { return false };
        let live = host.sees("exec");
        if !live {
            show::say("the exec probe is not attached (root and a kernel with BTF are needed): this machine's own events are");
            show::say(
                "not shown; the replayed hosts below still raise their alerts. `beffroi-agent doctor` says what is missing.",
            );
        }
        live
    }

    async fn await_alerts(&mut self, live: bool) -> Result<Vec<String>> {
        show::alert_header();
        let mut open: Vec<(String, String, &Expected)> = Vec::new();
        for expected in RECORDED.iter().chain(if live { LIVE } else { &[] }) {
            open.push((expected.tenant.into(), rule_id(expected.rule)?, expected));
        }
        let deadline = Instant::now() + ALERT_LIMIT;
        while !open.is_empty() && Instant::now() < deadline {
            self.line.check()?;
            self.look().await?;
            open.retain(|(tenant, rule, _)| {
                !self.seen.iter().any(|seen| seen.alert.tenant == *tenant && seen.alert.rule_id == *rule)
            });
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(open.into_iter().map(|(tenant, _, expected)| format!("{tenant}: {}", expected.rule)).collect())
    }

    /// Shows alerts that are new.
    pub async fn look(&mut self) -> Result<()> {
        for seen in self.reader.fresh().await? {
            show::alert(&seen);
            self.seen.push(seen);
        }
        Ok(())
    }

    fn show_one(&self) -> Result<()> {
        let own = |seen: &&Seen| seen.alert.tenant == TENANT && seen.alert.rule_title.to_lowercase().contains("base64");
        let Some(seen) = self.seen.iter().find(own).or(self.seen.first()) else { return Ok(()) };
        show::step(&format!(
            "one of them whole: beffroi alerts show {}",
            &seen.alert.alert_id[..12.min(seen.alert.alert_id.len())]
        ));
        let mut command = self.line.cli()?;
        command.args(["alerts", "show", &seen.alert.alert_id, "--output", "table"]);
        println!("{}", run(&mut command, "beffroi alerts show")?);
        Ok(())
    }

    /// Measures from a program's start to the moment in which its match can be read.
    async fn latencies(&mut self) -> Result<()> {
        show::step(&format!("latency: {LATENCY_STARTS} more starts from the hidden folder, each read back before the next"));
        let rule = rule_id("hidden_temporary_program")?;
        let mut latencies = Vec::new();
        for _ in 0..LATENCY_STARTS {
            let alerts = self.reader.alerts().await?;
            let count =
                alerts.iter().filter(|alert| alert.rule_id == rule && alert.tenant == TENANT).map(|alert| alert.count).sum();
            let since = now_us();
            acts::hidden_start(&self.scratch)?;
            latencies.push(self.reader.wait_count(&rule, TENANT, count, since, ALERT_LIMIT).await?);
        }
        latencies.sort_unstable();
        show::latencies(&latencies);
        Ok(())
    }

    /// Kills the agent, starts it again, and looks for the gap.
    async fn kill_and_return(&mut self) -> Result<bool> {
        show::step("the agent of this machine is killed and comes back: the dead time must be declared");
        let killed_at = now_us();
        let host = self.host.as_mut().context("no agent runs")?;
        host.kill();
        host.start()?;
        let deadline = Instant::now() + ALERT_LIMIT;
        while Instant::now() < deadline {
            let body = self.reader.get("/v1/gaps?limit=100").await?;
            let gaps = body["gaps"].as_array().cloned().unwrap_or_default();
            let declared = |gap: &&serde_json::Value| {
                gap["reason"] == "stopped" && gap["to"].as_str().and_then(time_us).is_some_and(|to| to >= killed_at)
            };
            if let Some(gap) = gaps.iter().find(declared) {
                show::gap(gap);
                return Ok(true);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }

    /// The command by which a person asks this collector.
    pub fn command(&self) -> Result<String> {
        let cli = self.line.cli()?;
        let words = std::iter::once(cli.get_program()).chain(cli.get_args());
        Ok(words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
    }

    /// Stops everything in order; says whether all drained in time.
    pub fn end(mut self) -> bool {
        let host = self.host.as_mut().is_none_or(Host::stop);
        let line = self.line.stop();
        host && line
    }

    /// Keeps showing alerts; fails when a process has ended.
    pub async fn keep_watching(&mut self) -> Result<()> {
        loop {
            self.line.check()?;
            if let Some(host) = &mut self.host {
                host.check()?;
            }
            self.look().await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
