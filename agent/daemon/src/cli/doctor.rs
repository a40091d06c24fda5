//! `doctor`: every check that a person would make, with what to do where one fails.
//!
//! Owns the checks. It changes nothing; the only thing it sends is a greeting to the gateway.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use beffroi_schema::down::VOCABULARY;
use beffroi_schema::limits::{MAX_CLOCK_SKEW_US, OLDEST_SCHEMA, SCHEMA_VERSION};
use beffroi_schema::session::Hello;
use serde::Serialize;

use super::out::{print, say};
use super::status::plain;
use super::{INCOMPLETE, Output, runtime};
use crate::clock::{bytes, now_us, span};
use crate::config::Config;
use crate::enroll::tls_config;
use crate::gateway::Gateway;
use crate::identity::{Enrolment, load_enrolled_key};
use crate::layout::Layout;
use crate::status::{Report, gather};
use crate::uplink::UplinkState;

/// Time for a name or a connection.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(5);
/// A spool older than this means that the uplink does not keep up (microseconds).
const OLD_SPOOL_US: i64 = 5 * 60 * 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    /// What to do; empty when all is well.
    todo: String,
}

fn good(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, ok: true, found: found.into(), todo: String::new() }
}

fn bad(name: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Check {
    Check { name, ok: false, found: found.into(), todo: todo.into() }
}

pub(super) fn doctor(layout: &Layout, config: &Config, output: Output) -> Result<ExitCode> {
    let report = gather(layout);
    let mut checks = local_checks(layout, config, &report);
    if let Ok(enrolment) = Enrolment::load(layout) {
        checks.extend(runtime()?.block_on(network_checks(layout, config, &enrolment)));
    }
    match output {
        Output::Json => print(&serde_json::to_string_pretty(&checks)?)?,
        Output::Table => print(&table(&checks))?,
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    say!("{} checks, {failed} failed", checks.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

fn table(checks: &[Check]) -> String {
    let mut table = plain();
    for check in checks {
        table.add_row([if check.ok { "ok" } else { "FAIL" }, check.name, &check.found]);
        if !check.ok {
            table.add_row(["", "", &format!("-> {}", check.todo)]);
        }
    }
    table.to_string()
}

fn local_checks(layout: &Layout, config: &Config, report: &Report) -> Vec<Check> {
    let mut checks = vec![enrolment_check(layout), root_check(report), certificate_check(report)];
    checks.push(if report.sensor_alive {
        good("sensor", "running")
    } else {
        bad(
            "sensor",
            "not running",
            "start it: `beffroi-agent run`, or `systemctl start beffroi-agent`; its log says why it stopped",
        )
    });
    if let Some(sensor) = &report.sensor {
        let off: Vec<&str> = sensor.hooks.iter().filter(|hook| !hook.on).map(|hook| hook.name.as_str()).collect();
        checks.push(match off.as_slice() {
            [] => good("hooks", "all on"),
            off => bad(
                "hooks",
                format!("off: {}", off.join(" ")),
                "`beffroi-agent status` says why for each; run the sensor with CAP_BPF and CAP_PERFMON",
            ),
        });
        let dropped: u64 = sensor.hooks.iter().map(|hook| hook.dropped).sum();
        checks.push(match dropped {
            0 => good("drops", "none"),
            dropped => bad(
                "drops",
                format!("{dropped} records lost in the kernel"),
                "raise sensor.process_ring_bytes and sensor.activity_ring_bytes",
            ),
        });
        checks.push(match (&sensor.scan.on, config.scan.enabled) {
            (true, _) => good("scan", format!("{} rules", sensor.scan.rules)),
            (false, false) => good("scan", "switched off"),
            (false, true) => {
                bad("scan", sensor.scan.detail.clone(), "install YARA rules where scan.rules points, or set scan.enabled = false")
            }
        });
    }
    checks.push(uplink_check(report));
    checks.push(spool_check(report));
    checks.push(disk_check(layout, config));
    checks
}

fn enrolment_check(layout: &Layout) -> Check {
    let loaded = Enrolment::load(layout).and_then(|enrolment| load_enrolled_key(layout, &enrolment).map(|_| enrolment));
    match loaded {
        Ok(enrolment) => good("enrolment", format!("{}, tenant {}", enrolment.agent_id, enrolment.tenant)),
        Err(error) => bad("enrolment", error.to_string(), "run `beffroi-agent enroll --token-file FILE`, as root"),
    }
}

/// No root is no fault, but whoever expects hunts to reach this host must hear of it.
fn root_check(report: &Report) -> Check {
    let problem = report.sensor.as_ref().map(|sensor| sensor.orders.problem.as_str()).unwrap_or_default();
    match (report.root, problem) {
        (Some(_), problem) if !problem.is_empty() => {
            bad("orders", problem, "restore or remove the file, then restart the sensor")
        }
        (Some(root), _) => good("orders", format!("taken under root {root}")),
        (None, _) => good(
            "orders",
            "none are taken: no root is pinned; to change that, enrol again (--again) with a token that names a root",
        ),
    }
}

fn certificate_check(report: &Report) -> Check {
    match report.certificate_not_after.map(|not_after| not_after - now_us()) {
        Some(left) if left > 0 => good("certificate", format!("{} left", span(left))),
        Some(left) => bad(
            "certificate",
            format!("expired {} ago", span(-left)),
            "start sensor and uplink: they renew it within 60 days of its end; after that enrol again",
        ),
        None => bad("certificate", "none that can be read", "run doctor as root, or enrol this host"),
    }
}

fn uplink_check(report: &Report) -> Check {
    let Some(uplink) = report.uplink.as_ref().filter(|_| report.uplink_alive) else {
        return bad("uplink", "not running", "start it: `beffroi-agent run`; its log says why it stopped");
    };
    match uplink.state {
        UplinkState::Stopped => {
            bad("uplink", uplink.detail.clone(), "the gateway does not want this host: ask the operator, then enrol again")
        }
        UplinkState::Retrying => bad("uplink", uplink.detail.clone(), "see the network checks below"),
        _ if !uplink.blocked.is_empty() => bad(
            "uplink",
            uplink.blocked[0].1.clone(),
            "gateway and agent do not agree on limits or versions: upgrade the older one",
        ),
        _ => good("uplink", format!("{} batches acknowledged", uplink.batches)),
    }
}

fn spool_check(report: &Report) -> Check {
    let total: u64 = report.spool.iter().map(|line| line.bytes).sum();
    match report.spool.iter().filter_map(|line| line.age_us).max() {
        Some(age) if age > OLD_SPOOL_US => bad(
            "spool",
            format!("{} waiting, oldest {}", bytes(total), span(age)),
            "see uplink and network checks; nothing is lost before spool.max_bytes",
        ),
        _ => good("spool", format!("{} waiting", bytes(total))),
    }
}

fn disk_check(layout: &Layout, config: &Config) -> Check {
    let Ok(disk) = nix::sys::statvfs::statvfs(layout.root()) else {
        return bad("disk", "cannot be asked", "does the state folder exist?");
    };
    let block = disk.fragment_size();
    let free = disk.blocks_available() * block;
    let keep = config.spool.keep_free_bytes.max(disk.blocks() * block / 100 * u64::from(config.spool.keep_free_percent));
    if free > keep {
        good("disk", format!("{} free", bytes(free)))
    } else {
        bad("disk", format!("{} free, {} must stay free", bytes(free), bytes(keep)), "free space: the spool is evicting now")
    }
}

async fn network_checks(layout: &Layout, config: &Config, enrolment: &Enrolment) -> Vec<Check> {
    let target = config.uplink.proxy.as_deref().unwrap_or(&enrolment.gateway);
    let via = if config.uplink.proxy.is_some() { "proxy" } else { "gateway" };
    let Some((host, port)) = host_and_port(target) else {
        return vec![bad("name", format!("the {via}'s URL has no host"), "correct it")];
    };
    let mut checks = Vec::new();
    let found = tokio::time::timeout(NETWORK_TIMEOUT, tokio::net::lookup_host((host.as_str(), port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return vec![bad("name", format!("{host}: {error}"), "check DNS on this host and the gateway's name")],
        Err(_) => return vec![bad("name", format!("{host}: no answer"), "check DNS on this host")],
    };
    checks
        .push(good("name", format!("{host} is {}", addresses.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(", "))));
    match tokio::time::timeout(NETWORK_TIMEOUT, tokio::net::TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => checks.push(good("connection", format!("{via} {host}:{port} accepts"))),
        other => {
            let why = other.map_or("no answer".into(), |result| result.map_or_else(|error| error.to_string(), |_| String::new()));
            checks.push(bad(
                "connection",
                format!("{via} {host}:{port}: {why}"),
                "is it running, and does a firewall let this host through?",
            ));
            return checks;
        }
    }
    checks.extend(greeting(layout, config, enrolment).await);
    checks
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(url).ok()?;
    Some((url.host_str()?.trim_matches(['[', ']']).to_string(), url.port_or_known_default()?))
}

async fn greeting(layout: &Layout, config: &Config, enrolment: &Enrolment) -> Vec<Check> {
    let gateway = tls_config(layout, enrolment, true)
        .map_err(|error| error.to_string())
        .and_then(|tls| Gateway::new(&enrolment.gateway, tls, &config.uplink).map_err(|error| error.to_string()));
    let gateway = match gateway {
        Ok(gateway) => gateway,
        Err(why) => return vec![bad("session", why, "run doctor as root: the TLS key is not readable for others")],
    };
    let hello = Hello {
        software: format!("beffroi-agent/{} doctor", crate::host::VERSION),
        schema_oldest: OLDEST_SCHEMA,
        schema_newest: SCHEMA_VERSION,
        hooks: Vec::new(),
        orders: VOCABULARY.map(str::to_owned).to_vec(),
        codecs: vec!["zstd".into()],
        ts: now_us(),
    };
    match gateway.hello(&hello).await {
        Ok(answer) => {
            let skew = answer.ts - now_us();
            let clock = if skew.abs() > MAX_CLOCK_SKEW_US {
                bad(
                    "clock",
                    format!("{} away from the gateway's", span(skew.abs())),
                    "set this host's clock (NTP): its events are marked as doubtful",
                )
            } else {
                good("clock", format!("within {} ms of the gateway's", skew.abs() / 1000))
            };
            vec![good("session", format!("TLS and certificate accepted by {}", answer.software)), clock]
        }
        Err(error) => vec![bad(
            "session",
            error.to_string(),
            "the message names the cause; a TLS-intercepting proxy must exempt the gateway",
        )],
    }
}
